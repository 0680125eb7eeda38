"""Stacked-Fashion: three images as channels, 1000 combinations of classes, and how many of them a run generates.

The protocol is that of stacked MNIST (Metz et al., arXiv 1611.02163; Lin et al., arXiv 1712.04086): 26 000 samples, each
channel classified; modes are the combinations that occur, and KL is that of their shares to equal ones.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.runs import plots, quality, text
from benchmarks.runs.plan import Record, Table
from benchmarks.table import markdown
from gpgan.data import Dataset, load, split
from gpgan.metrics.scores.modes import stacked_modes
from gpgan.training.trainer import Trainer

CHANNELS, SAMPLES = 3, 26_000
STACKS = 50_000


def stacked(data: str, count: int) -> Dataset:
    """Stacks ``[count, 3, H, W]`` of random training images and, held out, as many of random held-out images."""
    singles = split(load(data))
    assert singles.held_out is not None
    rows = torch.arange(len(singles.stored)) if singles.rows is None else singles.rows
    return Dataset(
        f"stacked-{data}",
        _stacks(singles.stored[rows], count, 0),
        singles.scale,
        singles.offset,
        held_out=_stacks(singles.held_out, count, 1),
    )


def _stacks(images: Tensor, count: int, seed: int) -> Tensor:
    chosen = torch.randint(len(images), (count, CHANNELS), generator=torch.Generator().manual_seed(seed))
    return images[chosen].squeeze(2)


def fashion() -> Dataset:
    return stacked("fashion", STACKS)


def digits() -> Dataset:
    return stacked("digits", 400)


def count_modes(trainer: Trainer, n: int) -> Record:
    """Modes and KL of n samples, and of as many held-out stacks: the classifier's own ceiling."""
    data = trainer.dataset
    _, samples = trainer.task.sample(n, torch.Generator().manual_seed(trainer.config.seed), lambda: data)
    assert data.held_out is not None
    singles = data.name.removeprefix("stacked-")
    return {
        "possible": len(load(singles).classes) ** CHANNELS,
        "samples": modes(samples.cpu(), singles),
        "held_out": modes(data.scaled(data.held_out[:n]), singles),
    }


def modes(stacks: Tensor, data: str) -> Record:
    """How many combinations of classes occur in stacks ``[n, 3, H, W]``, and KL(their shares || equal shares), in nats."""
    found = quality.classify(stacks.flatten(0, 1).unsqueeze(1), data).view(-1, CHANNELS)
    captured, kl = stacked_modes(found, len(load(data).classes))
    return {"modes": captured, "kl": kl}


def render(result: Record) -> str:
    rows = []
    for method in text.methods(result):
        made = text.own(text.runs_of(result, method), "samples")
        rows.append(
            [
                method,
                text.spread([each["modes"] for each in made], "{:.0f}"),
                text.spread([each["kl"] for each in made], "{:.3f}"),
            ]
        )
    ceilings = [run["own"]["held_out"] for run in result["runs"] if run["own"]]
    rows.append(["real stacks, held out", f"{ceilings[0]['modes']}", f"{ceilings[0]['kl']:.3f}"])
    possible = next(run["own"]["possible"] for run in result["runs"] if run["own"])
    return text.joined(
        text.about(result),
        markdown(["", f"modes, of {possible}", "KL to equal shares"], rows),
        f"{result['own_n']} samples, each channel classified; mean ± deviation over the seeds. The last row is what the same "
        "classifier makes of real stacks.",
        text.diverged(result),
        text.picture(result, "modes", "modes and KL of every run, beside real stacks"),
        text.pictures(result),
    )


def figures(result: Record, folder: Path) -> None:
    ceiling = next(run["own"]["held_out"] for run in result["runs"] if run["own"])
    made = {method: text.own(text.runs_of(result, method), "samples") for method in text.methods(result)}
    plots.modes(made, ceiling, folder / f"{text.stem(result)}-modes.png")


TABLE = Table(
    name="stacked",
    data="benchmarks.runs.stacked:fashion",
    smoke_data="benchmarks.runs.stacked:digits",
    methods={
        "nsgan": {"preset": "nsgan"},
        "wgan": {"preset": "wgan"},
        "wgan-gp": {"preset": "wgan-gp"},
        "PacGAN (nsgan, packs of 2)": {"preset": "nsgan", "pack": 2},
    },
    seeds=3,
    seconds=200,
    slices=4,
    own=count_modes,
    own_n=SAMPLES,
    own_seconds=40,
    text=render,
    figures=figures,
    pictures=("samples",),
)
