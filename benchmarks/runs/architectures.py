"""Random architectures: how many of them train with nsgan and how many with wgan-gp.

Gulrajani et al., arXiv 1704.00028, section 5.1, train 200 random architectures with both objectives and count where only
one, both or neither reaches a score. This is that experiment scaled down: 40 small architectures, half a minute each.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from torch import Tensor, nn

from benchmarks.runs import plots, text
from benchmarks.runs.plan import Record, Table
from benchmarks.table import markdown

COUNT, SEED = 40, 2017
FIRST, SECOND = "nsgan", "wgan-gp"
# Success is a KD x 1000 of at most the first number and a coverage of at least the second. Fixed before any run, from real
# images that were corrupted (1000 against 1000, features of the default network):
#   12000, .02: better than noise of .1 (12001, .09), which covers the images in grain;
#   8000, .05: better than a blur of sigma 2 (9095, .04), which leaves the kind of garment barely visible;
#   5000, .20: between a blur of sigma 1 (3488, .51) and noise of .05 (5671, .28): recognisable and of several kinds;
#   2500, .45: better than that blur, and about what 5 of 10 classes missing cost (2361, .65).
THRESHOLDS = ((12000.0, 0.02), (8000.0, 0.05), (5000.0, 0.20), (2500.0, 0.45))
DEPTHS, WIDTHS = (2, 3, 4, 6), (64, 128, 256, 512)


def soft(x: Tensor) -> Tensor:
    """softplus(2 x + 2) / 2 - 1, the paper's third nonlinearity."""
    return nn.functional.softplus(2 * x + 2) / 2 - 1


class Soft(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return soft(x)


NONLINEARITIES: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU,
    "LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "softplus": Soft,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class Half:
    """A generator's or a critic's architecture."""

    depth: int
    width: int
    norm: bool
    nonlinearity: str

    def __str__(self) -> str:
        return f"{self.depth} x {self.width} {self.nonlinearity}{' normalised' if self.norm else ''}"


@dataclass(frozen=True)
class Architecture:
    """Multilayer perceptrons: in half a minute a core trains them for a thousand steps, convolutional networks for fifty.

    The generator's normalisation is BatchNorm. The critic's is over each sample (LayerNorm), as in the paper.
    """

    made: Half
    judge: Half

    def generator(self, latent: int, shape: Sequence[int]) -> nn.Module:
        return nn.Sequential(
            *layers(self.made, latent, nn.BatchNorm1d),
            nn.Linear(self.made.width, math.prod(shape)),
            nn.Tanh(),
            nn.Unflatten(1, tuple(shape)),
        )

    def critic(self, shape: Sequence[int]) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), *layers(self.judge, math.prod(shape), nn.LayerNorm), nn.Linear(self.judge.width, 1)
        )


def layers(half: Half, inputs: int, norm: Callable[[int], nn.Module]) -> list[nn.Module]:
    """The hidden layers of a network."""
    found: list[nn.Module] = []
    for _ in range(half.depth):
        found.append(nn.Linear(inputs, half.width))
        found += [norm(half.width)] if half.norm else []
        found.append(NONLINEARITIES[half.nonlinearity]())
        inputs = half.width
    return found


def draw() -> list[Architecture]:
    """The architectures: generator and critic are drawn apart, as in the paper."""
    rng = random.Random(SEED)

    def half() -> Half:
        return Half(rng.choice(DEPTHS), rng.choice(WIDTHS), rng.random() < 0.5, rng.choice([*NONLINEARITIES]))

    return [Architecture(half(), half()) for _ in range(COUNT)]


ARCHITECTURES = draw()
# Named in the settings of the runs, so that gpgan eval finds them.
ALL = SimpleNamespace(**{f"a{number}": each for number, each in enumerate(ARCHITECTURES)})


def methods() -> dict[str, dict[str, object]]:
    """Every architecture with both objectives: the papers' settings, but five and ten times their learning rates, as half a
    minute is no more than a few hundred steps, and two critic steps instead of five for wgan-gp."""
    changes: dict[str, dict[str, object]] = {
        FIRST: {"preset": FIRST, "batch": 64, "optimizer": {"lr": 1e-3}},
        SECOND: {"preset": SECOND, "n_critic": 2, "optimizer": {"lr": 1e-3}},
    }
    where = "benchmarks.runs.architectures:ALL.a{}.{}"
    return {
        f"{method} {number}": {
            **settings,
            "network": {
                "generator": where.format(number, "generator"),
                "critic": where.format(number, "critic"),
                "ema": 0.99,
            },
        }
        for number in range(COUNT)
        for method, settings in changes.items()
    }


def succeeded(run: Record, threshold: tuple[float, float]) -> bool:
    """Whether a run reached KD and coverage; one that diverged did not."""
    if run["diverged"]:
        return False
    kd, coverage = (run["quality"]["last"][name]["score"] for name in ("kd", "coverage"))
    return kd is not None and coverage is not None and kd <= threshold[0] and coverage >= threshold[1]


def pairs(result: Record) -> list[tuple[int, Record, Record]]:
    """The runs of each architecture: its number, nsgan's and wgan-gp's."""
    runs = {run["method"]: run for run in result["runs"]}
    numbers = dict.fromkeys(int(method.split()[1]) for method in runs)
    return [(number, runs[f"{FIRST} {number}"], runs[f"{SECOND} {number}"]) for number in numbers]


def counts(result: Record, threshold: tuple[float, float]) -> list[int]:
    """Architectures that train only with nsgan, only with wgan-gp, with both, with neither."""
    outcomes = [(succeeded(first, threshold), succeeded(second, threshold)) for _, first, second in pairs(result)]
    return [outcomes.count(each) for each in ((True, False), (False, True), (True, True), (False, False))]


def render(result: Record) -> str:
    header = ["success: KD x 1000 at most, coverage at least", f"only {FIRST}", f"only {SECOND}", "both", "neither"]
    rows = [
        [f"{threshold[0]:.0f}, {threshold[1]:.2f}", *map(str, counts(result, threshold))] for threshold in THRESHOLDS
    ]
    ends = sum(bool(run["diverged"]) for run in result["runs"])
    said = (
        f"{len(pairs(result))} architectures, one run of each with each objective, {result['n']} samples against as many test "
        f"images; real samples score {text.floors(result, ['kd'])[0]} and {text.floors(result, ['coverage'])[0]}. "
        f"{ends} runs diverged and count as failures. The thresholds were fixed before the runs, in "
        "[benchmarks/runs/architectures.py](../benchmarks/runs/architectures.py)."
    )
    picture = text.picture(result, "pairs", "KD of every architecture with nsgan and with wgan-gp")
    return text.joined(text.about(result), markdown(header, rows), said, picture)


def figures(result: Record, folder: Path) -> None:
    points = []
    for number, first, second in pairs(result):
        if not (first["diverged"] or second["diverged"]):
            scores = [run["quality"]["last"]["kd"]["score"] for run in (first, second)]
            points.append((*scores, ARCHITECTURES[number].judge.nonlinearity))
    plots.pairs(
        points, (FIRST, SECOND), [threshold for threshold, _ in THRESHOLDS], folder / f"{text.stem(result)}-pairs.png"
    )


TABLE = Table(
    name="architectures",
    data="fashion",
    smoke_data="digits",
    methods=methods(),
    seeds=1,
    seconds=30,
    slices=1,
    metrics=("kd", "coverage"),
    n=1000,
    text=render,
    figures=figures,
)
