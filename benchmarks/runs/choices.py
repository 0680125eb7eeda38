"""What was tried for the default of images: on fashion, the default and variants that differ in one choice."""

from __future__ import annotations

from benchmarks.runs import text
from benchmarks.runs.plan import Record, Table

METRICS = ("kd", "precision", "recall", "coverage", "class_kl")
WGAN_GP = {"objective": "wasserstein", "penalty": {"points": "between", "target": 1.0, "weight": 1.0, "lazy": 4}}
CHOICES = {
    "the default": {},
    "3 critic steps": {"n_critic": 3},
    "batch 8": {"batch": 8},
    "batch 32": {"batch": 32},
    "batch 64": {"batch": 64},
    "penalty at every 4th step": {"penalty": {"lazy": 4}},
    "gamma 10": {"penalty": {"weight": 5.0}},
    "gamma 1": {"penalty": {"weight": 0.5}},
    "gamma 0.04": {"penalty": {"weight": 0.02}},
    "constant rate of 1e-3": {"optimizer": {"schedule": "constant", "lr": 1e-3}},
    "constant rate of 2e-3": {"optimizer": {"schedule": "constant"}},
    "width 24": {"network": {"width": 24}},
    "relativistic objective": {"objective": "relativistic"},
    "WGAN-GP, weight 1 at every 4th step": WGAN_GP,
}


def render(result: Record) -> str:
    return text.joined(
        text.about(result),
        text.quality_table(result, METRICS),
        f"Each row differs from the first in what it names. Cells: mean ± deviation over the seeds (real samples' score; place on "
        f"the ladder), {result['n']} samples against as many test images.",
        text.diverged(result),
    )


TABLE = Table(
    name="choices",
    data="fashion",
    smoke_data="digits",
    methods=CHOICES,
    seeds=2,
    seconds=80,
    slices=1,
    metrics=METRICS,
    n=2500,
    text=render,
)
