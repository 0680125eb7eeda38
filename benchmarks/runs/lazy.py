"""Lazy penalties: quality against CPU time, for the penalty at every 1st, 4th, 8th and 16th critic step."""

from __future__ import annotations

from pathlib import Path

from benchmarks.runs import plots, text
from benchmarks.runs.plan import Record, Table

METRICS = ("kd", "precision", "recall", "coverage")


def render(result: Record) -> str:
    return text.joined(
        text.about(result),
        text.quality_table(result, METRICS),
        f"The preset stylegan-r1 with its penalty at every k-th critic step, with k times the weight. Cells: mean ± deviation "
        f"over the seeds (real samples' score; place on the ladder), {result['n']} samples against as many test images.",
        text.diverged(result),
        text.picture(result, "kd", "KD against CPU seconds and against images, mean and range over the seeds"),
    )


def figures(result: Record, folder: Path) -> None:
    plots.quality_curves(result, folder / f"{text.stem(result)}-kd.png")


TABLE = Table(
    name="lazy",
    data="fashion",
    smoke_data="digits",
    methods={f"k = {k}": {"preset": "stylegan-r1", "penalty": {"lazy": k}} for k in (1, 4, 8, 16)},
    seeds=3,
    seconds=160,
    slices=3,
    metrics=METRICS,
    n=3000,
    selects=True,
    text=render,
    figures=figures,
)
