"""The samples that ``gpgan eval --real A --fake B`` compares."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from gpgan.cli.progress import loading
from gpgan.data import Dataset, load
from gpgan.data.paths import files_under
from gpgan.training.saved import open_run

# Images that lose detail where it is not seen, but where feature networks look.
LOSSY = (".jpg", ".jpeg", ".webp", ".avif")


def is_run(source: str) -> bool:
    """Whether a path is the folder of a run."""
    return Path(source, "config.json").is_file() and Path(source, "checkpoints").is_dir()


def real_set(source: str, trust_code: bool, name: str = "real") -> Dataset:
    """The data set of a run, or what ``gpgan.data.load`` reads; ``name`` is the argument's, for errors."""
    return open_run(Path(source), trust_code).dataset() if is_run(source) else _load(source, name)


def fake_set(source: str, trust_code: bool, count: int, seed: int) -> Dataset:
    """``count`` samples of a run with the scale of its data, or all of what ``gpgan.data.load`` reads, in random order."""
    if is_run(source):
        saved = open_run(Path(source), trust_code)
        samples = saved.task.generated(saved.dataset(), count, seed).samples
        return Dataset("samples", saved.original(samples), saved.facts.scale, saved.facts.offset)
    dataset = _load(source, "fake")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    return dataclasses.replace(dataset, stored=dataset.stored[order], labels=None, rows=None)


def _load(source: str, name: str) -> Dataset:
    with loading() as progress:
        try:
            return load(source, progress=progress)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def aligned(real: Dataset, fake: Dataset) -> tuple[Tensor, list[str]]:
    """The fakes ``[n, ...]`` on the scale of the real samples, and what should be known about that.

    Raises:
        ValueError: The samples have different shapes, or values in ranges that do not go together.
    """
    notes = []
    stored, shape = fake.stored, real.shape
    if fake.kind.name == real.kind.name == "images" and {fake.shape[0], shape[0]} == {1, 3}:
        notes.append("one set is grey and the other has colours: grey images are compared as three equal channels")
        if shape[0] == 3:
            stored = stored.expand(-1, 3, -1, -1)
        else:
            raise ValueError(
                f"fake has samples of shape {fake.shape} and real {shape}; expected colours in both sets or in neither: "
                "convert one of them"
            )
    elif fake.shape != shape:
        raise ValueError(
            f"fake has samples of shape {fake.shape} and real {shape}; expected the same shape: resize one of them"
        )
    if (fake.scale, fake.offset) == (real.scale, real.offset):
        return fake.scaled(stored), notes
    if real.kind.name == "points" or _kind_of_values(real) == _kind_of_values(fake):
        return real.scaled(stored), notes
    mine, its = _range(fake), _range(real)
    if _kind_of_values(real)[0] == _kind_of_values(fake)[0] == "f":
        raise ValueError(
            f"fake has values from {mine} and real from {its}; expected one range in both sets: scale one of them"
        )
    notes.append(f"fake has values from {mine} and real from {its}: each range is mapped to -1..1")
    return fake.scaled(stored), notes


def _kind_of_values(dataset: Dataset) -> str:
    """The type of the values, and for floats the range that they are taken to have."""
    if dataset.stored.dtype.is_floating_point:
        return f"f {dataset.scale} {dataset.offset}"
    return str(dataset.stored.dtype)


def _range(dataset: Dataset) -> str:
    return f"{dataset.offset - dataset.scale:g} to {dataset.offset + dataset.scale:g}"


def formats(real: str, fake: str) -> list[str]:
    """A warning if one folder holds lossy images and the other does not."""
    lossy = []
    for source in (real, fake):
        if not Path(source).is_dir() or is_run(source):
            return []
        kinds = Counter(Path(name).suffix.lower() for name in files_under(Path(source)))
        lossy.append(sum(kinds[suffix] for suffix in LOSSY) > sum(kinds.values()) / 2)
    if lossy[0] == lossy[1]:
        return []
    which = ("real", "fake") if lossy[0] else ("fake", "real")
    return [
        f"{which[0]} holds JPEG or other lossy images and {which[1]} does not: the compression itself raises every distance; "
        "save both sets as PNG"
    ]
