"""Trains the same run with the native operators and with their reference, and draws both loss curves.

If the curves separate suddenly after many equal steps, an activation of a LeakyReLU came so near 0 that its last bits decided
its sign, and with it its slope. tests/training/test_same_training.py says more.

python benchmarks/same_training.py [--steps 200] [--out docs/images/same_training.png]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import gpgan
from gpgan.util.files import replacing

SEEDS = (0, 1, 2)
REPOSITORY = Path(__file__).resolve().parent.parent


def loss_curve(impl: str, steps: int, out: Path, seed: int = 0) -> np.ndarray:
    """The critic's loss [steps] of a small run on digits, one number per generator step."""
    config = gpgan.configure(
        "digits", steps=steps, seed=seed, batch=32, n_critic=1, tick=1, snapshot=steps, checkpoint=steps, threads=1,
        device="cpu", impl=impl, out=out, name=f"{impl}-{seed}", network={"kind": "mlp", "width": 32, "depth": 2},
        optimizer={"lr": 1e-3},
    )  # fmt: skip
    folder = gpgan.Trainer(config).fit().run
    return np.array([json.loads(line)["critic_loss"] for line in (folder / "stats.jsonl").read_text().splitlines()])


def draw(native: np.ndarray, reference: np.ndarray, path: Path) -> None:
    """Draws the first seed's two curves in one panel, and each seed's difference below; both arrays are [seeds, steps]."""
    figure = Figure(figsize=(7, 5.5), dpi=130, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    steps = np.arange(1, native.shape[1] + 1)
    upper.plot(steps, reference[0], color="tab:orange", linewidth=5, alpha=0.5, label='impl="reference"')
    upper.plot(steps, native[0], color="tab:blue", linewidth=1.2, label='impl="native"')
    upper.set(
        ylabel="critic's loss, seed 0", title="Digits: training with the native operators and with their reference"
    )
    upper.legend()
    for seed, difference in enumerate(np.abs(native - reference)):
        lower.semilogy(steps, np.where(difference > 0, difference, np.nan), linewidth=1, label=f"seed {seed}")
    rounding = np.finfo(np.float32).eps
    lower.axhline(rounding, linestyle=":", color="grey", label="rounding of a float32 near 1")
    lower.set(xlabel="generator step", ylabel="|native - reference|", ylim=(rounding / 8, 1))
    lower.legend(ncols=2, loc="upper left", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        figure.savefig(file, format="png")


def main() -> None:
    """Runs both trainings and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "images" / "same_training.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        native, reference = (
            np.stack([loss_curve(impl, options.steps, Path(folder), seed) for seed in SEEDS])
            for impl in ("native", "reference")
        )
        draw(native, reference, options.out)


if __name__ == "__main__":
    main()
