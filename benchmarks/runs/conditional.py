"""Conditional fashion: how often a classifier finds the class that a sample was made for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.runs import plots, quality, text
from benchmarks.runs.plan import Record, Table
from benchmarks.table import markdown
from gpgan.training.trainer import Trainer

METRICS = ("kd", "coverage", "class_kl")


def accuracy(trainer: Trainer, n: int) -> Record:
    """The share of samples, and of held-out images, whose class the classifier finds, by class."""
    data = trainer.dataset
    (_, labels), samples = trainer.task.sample(n, torch.Generator().manual_seed(trainer.config.seed), lambda: data)
    assert data.held_out is not None
    assert data.held_out_labels is not None
    return {
        "classes": list(data.classes),
        "samples": shares(samples.cpu(), labels.cpu(), trainer.config.data),
        "held_out": shares(data.scaled(data.held_out), data.held_out_labels, trainer.config.data),
    }


def shares(images: Tensor, labels: Tensor, data: str) -> list[float]:
    right = (quality.classify(images, data) == labels).double()
    return [float(right[labels == label].mean()) for label in range(int(labels.max()) + 1)]


def render(result: Record) -> str:
    first = next(run["own"] for run in result["runs"] if run["own"])
    rows = []
    for method in text.methods(result):
        by_class = list(zip(*text.own(text.runs_of(result, method), "samples"), strict=True))
        everything = [sum(each) / len(each) for each in text.own(text.runs_of(result, method), "samples")]
        rows.append([method, *(text.spread(each, "{:.2f}") for each in (everything, *by_class))])
    held_out = first["held_out"]
    rows.append(["test images", f"{sum(held_out) / len(held_out):.2f}", *(f"{each:.2f}" for each in held_out)])
    return text.joined(
        text.about(result),
        f"Accuracy by class of {result['own_n']} samples, each made for a class, mean ± deviation over the seeds. The last row is "
        "what the classifier makes of real images: its own ceiling.",
        markdown(["accuracy", "all", *first["classes"]], rows),
        text.quality_table(result, METRICS),
        text.diverged(result),
        text.picture(result, "accuracy", "accuracy by class, samples and test images"),
        text.pictures(result),
    )


def figures(result: Record, folder: Path) -> None:
    first = next(run["own"] for run in result["runs"] if run["own"])
    bars = {method: text.own(text.runs_of(result, method), "samples") for method in text.methods(result)}
    bars["test images"] = [first["held_out"]]
    plots.draw_bars(
        bars,
        first["classes"],
        "share of the class's samples classified as it",
        folder / f"{text.stem(result)}-accuracy.png",
    )


TABLE = Table(
    name="conditional",
    data="fashion",
    smoke_data="digits",
    methods={name: {"preset": name, "conditional": True} for name in ("auto", "stylegan-r1")},
    seeds=3,
    seconds=300,
    slices=3,
    metrics=METRICS,
    n=3000,
    own=accuracy,
    own_n=5000,
    own_seconds=15,
    text=render,
    figures=figures,
    pictures=("samples",),
)
