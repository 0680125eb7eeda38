"""``gpgan eval``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import torch

from gpgan.cli import complain
from gpgan.cli.arguments import Parser
from gpgan.data import Dataset, load, split
from gpgan.metrics import gradient_norms, mode_coverage, w1_floor, wasserstein1
from gpgan.nn.packing import pack
from gpgan.records.report import write_report
from gpgan.training.saved import Saved, draw_samples, open_run
from gpgan.util.files import write_json

DESCRIPTION = """\
Measure the generator of RUN, a run's folder, against its data: exact Wasserstein-1 distance,
gradient norm of the critic and, for mixtures, modes. Written to RUN/eval.json and RUN/report.html.

Examples:
  gpgan eval runs/00000-ring
  gpgan eval runs/clothes -n 1000 --json
"""
LARGEST = 10_000
# Gradient norms are taken at so many points.
NORMS = 512


def run(arguments: Sequence[str]) -> int:
    """Writes the metrics; 0, or 2 on bad input."""
    parser = Parser("gpgan eval", DESCRIPTION, run=True)
    parser.add_argument("-n", type=int, default=2500, metavar="N", help="samples, as many real ones at most (2500)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the samples (0)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON that holds the metrics")
    try:
        given = parser.given(arguments)
        if not 2 <= given.n <= LARGEST:
            raise ValueError(f"n is {given.n}; expected a whole number from 2 to {LARGEST}")
        if not 0 <= given.seed < 2**63:
            raise ValueError(f"seed is {given.seed}; expected a whole number from 0 to {2**63 - 1}")
        saved = open_run(given.run)
        dataset = load(saved.config.data, size=saved.config.size or None)
        if dataset.fingerprint() != saved.state["data"]["fingerprint"]:
            raise ValueError(
                f"the data of {given.run} changed since it was saved; expected the same data: {saved.config.data}"
            )
        metrics = measure(saved, split(dataset), given.n, given.seed)
        write_json(saved.run / "eval.json", metrics)
        write_report(saved.run)
    except (ValueError, OSError) as error:
        return complain(str(error))
    for problem in saved.problems:
        sys.stderr.write(f"gpgan: {problem}; an older checkpoint is used\n")
    _tell(metrics)
    if given.json:
        sys.stdout.write(json.dumps({"run": str(given.run.resolve()), **metrics}) + "\n")
    return 0


def measure(saved: Saved, dataset: Dataset, count: int, seed: int) -> dict[str, Any]:
    """The metrics of a run, by name.

    Distances are in the units that the networks see: -1..1 for images. ``w1`` is that between ``reals`` samples and as
    many real ones, which were not trained on where there are such; ``w1_floor`` that between two such sets of real ones,
    which depends on their number. ``samples`` are counted for the modes.

    Raises:
        ValueError: The samples are not finite.
    """
    samples = draw_samples(saved, count, seed)
    rng = torch.Generator().manual_seed(seed)
    held_out = dataset.held_out
    pool = dataset.samples() if held_out is None or len(held_out) < 2 else dataset.scaled(held_out)
    real = pool[torch.randperm(len(pool), generator=rng)[:count]]
    every = dataset.samples(torch.randperm(len(dataset), generator=rng)[: 2 * len(real)])
    # Between real samples and generated ones of the same class, as in training.
    size = saved.config.pack
    # Whole packs, one at least.
    chosen = torch.randperm(len(dataset), generator=rng)[: max(min(len(dataset), count, NORMS) // size, 1) * size]
    labels = dataset.labels[chosen] if saved.classes and dataset.labels is not None else None
    fakes = draw_samples(saved, len(chosen), seed, labels=labels)
    arguments = () if labels is None else (labels,)
    _, critic = saved.networks()
    reals = pack(dataset.samples(chosen), size)
    norms = gradient_norms(critic, reals, pack(fakes, size), critic_args=arguments, generator=rng)
    metrics: dict[str, Any] = {
        "step": saved.state["step"],
        "samples": len(samples),
        "reals": len(real),
        "reals_held_out": held_out is not None and len(held_out) >= 2,
        "w1": wasserstein1(samples[: len(real)], real),
        "w1_floor": w1_floor(every, len(every) // 2, generator=rng),
        "norm_mean": norms.mean,
        "norm_std": norms.std,
        "norm_max": norms.max,
    }
    if dataset.modes is not None:
        coverage = mode_coverage(saved.original(samples), dataset.modes)
        metrics |= {f"modes_{name}": None if value != value else value for name, value in vars(coverage).items()}
    return metrics


def _tell(metrics: dict[str, Any]) -> None:
    where = "held out" if metrics["reals_held_out"] else "trained on"
    rows = [
        ("step", f"{metrics['step']}"),
        ("W1", f"{metrics['w1']:.4f}  exact, {metrics['reals']} samples to as many real ones, {where}"),
        ("W1 floor", f"{metrics['w1_floor']:.4f}  the same between real ones: a perfect generator's value"),
        (
            "gradient norm",
            f"{metrics['norm_mean']:.3f} +- {metrics['norm_std']:.3f}, at most {metrics['norm_max']:.3f}",
        ),
    ]
    if "modes_modes" in metrics:
        rows += [
            ("modes", f"{metrics['modes_captured']} of {metrics['modes_modes']}"),
            ("high quality", f"{100 * metrics['modes_high_quality']:.1f} %  within 3 deviations of a mode"),
            ("reverse KL", f"{_number(metrics['modes_reverse_kl'])}  of the modes' shares; 0 is even"),
        ]
    for name, value in rows:
        sys.stdout.write(f"{name:<14} {value}\n")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
