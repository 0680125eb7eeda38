"""The observations of a run, scaled, with their noise and, of simulated data, their truth."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpgan.data import Dataset, load, split
from gpgan.data.volumes import volume_files
from gpgan.util.words import counted
from gpgan.wedge.averaging import ball
from gpgan.wedge.ctf import CTF
from gpgan.wedge.observe import Observation, noise_spectrum, shell_mean
from gpgan.wedge.operators import Filter, transform
from gpgan.wedge.shared import Model

# The channels of halves.
EVEN, ODD = 0, 1


@dataclass(frozen=True)
class Part:
    """Observations to train on, or held out.

    Attributes:
        halves: ``[N, 2, D, H, W]``, even and odd; ``[N, 1, D, H, W]`` without halves. Divided by ``Observed.scale``.
        truth: ``[N, D, H, W]``, divided by the same; None if it is not known.
    """

    halves: Tensor
    truth: Tensor | None

    @property
    def whole(self) -> Tensor:
        """The mean of the halves: ``[N, D, H, W]``."""
        return self.halves.mean(1)

    def __len__(self) -> int:
        return len(self.halves)


@dataclass(frozen=True)
class Observed:
    """Everything that a task knows about its data.

    Attributes:
        train: To train on.
        held_out: Never trained on, or None.
        model: T and the noise of the mean of the halves.
        filter: T.
        scale: The standard deviation of the observations in the units of their files: these are values times scale.
    """

    train: Part
    held_out: Part | None
    model: Model
    filter: Filter
    scale: float

    @property
    def deviation(self) -> float:
        """The noise s of the mean of the halves: the root of its mean over the measured components."""
        measured = self.model.transfer != 0
        return float((self.model.variance[measured].mean() / torch.Size(self.model.shape).numel()).sqrt())


def observed(config: Any, dataset: Dataset) -> Observed:
    """Reads what belongs to the observations of a data set.

    Args:
        config: Of the run, resolved, with an ``ObservedConfig`` under ``task``.
        dataset: Split; ``[C, D, H, W]`` with C = 2 for halves.

    Raises:
        ValueError: Halves or truth do not fit the data.
    """
    task, shape, device = config.task, dataset.shape[1:], config.device
    parts: dict[str, Tensor | None] = {"train": _train(dataset), "held_out": dataset.held_out}
    if task.odd:
        other = companion("odd", config, dataset)
        parts = {
            "train": _joined(parts["train"], _train(other)),
            "held_out": _joined(parts["held_out"], other.held_out),
        }
        even, odd = _float(parts["train"])[:, EVEN], _float(parts["train"])[:, ODD]
        if torch.equal(even, odd):
            raise ValueError(f"odd is {task.odd}, whose values are those of {config.data}; expected the other halves")
    truths: dict[str, Tensor | None] = {"train": None, "held_out": None}
    if task.truth:
        other = companion("truth", config, dataset)
        truths = {"train": _train(other), "held_out": other.held_out}
    scale = float(_float(parts["train"]).double().std())
    found: dict[str, Part | None] = {}
    for name, halves in parts.items():
        truth = truths[name]
        found[name] = (
            None
            if halves is None
            else Part(
                (_float(halves) / scale).to(device), None if truth is None else (_float(truth)[:, 0] / scale).to(device)
            )
        )
    train = found["train"]
    assert train is not None
    ctf = CTF(task.defocus) if task.defocus else None
    observation = Observation(task.wedge, ctf, task.voxel)
    filtered = observation.filter(shape, device)
    measured = task.wedge.mask(shape, device)
    variance = noise_of(train.halves, measured)
    transfer = None if ctf is None else ctf.transfer(shape, task.voxel).to(device)
    model = Model(task.wedge, filtered.transfer.float(), transfer, variance, tuple(shape))
    return Observed(train, found["held_out"], model, filtered, scale)


def noise_of(halves: Tensor, measured: Tensor) -> Tensor:
    """The variance of the noise of the halves' mean in each component.

    From the halves' difference; without halves from what is outside of the ball, where no particle is.
    """
    if halves.shape[1] == 2:
        return noise_spectrum(halves[:, EVEN], halves[:, ODD], measured)
    whole = halves[:, 0]
    shape = whole.shape[1:]
    outside = 1 - ball(shape, 1.0, whole.device)
    power = transform(whole * outside, len(shape)).abs().double().square().mean(0)
    return shell_mean(power * whole[0].numel() / outside.square().sum(), measured, shape)


def companion(name: str, config: Any, dataset: Dataset) -> Dataset:
    """The data set of the setting ``name``, cut and split as the run's own is.

    Raises:
        ValueError: It does not fit.
    """
    path, data = str(getattr(config.task, name)), config.data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        other = load(path, size=config.size or None)
    names = [
        [file.stem for file in volume_files(Path(each))[:: dataset.shape[0] if each == data else 1]]
        for each in (path, data)
    ]
    if len(names[0]) == len(names[1]) > 1 and names[0] != names[1]:
        differs = next(pair for pair in zip(*names, strict=True) if pair[0] != pair[1])
        raise ValueError(
            f"{name} is {path} with {differs[0]} where {data} has {differs[1]}; expected the same file names"
        )
    whole, others = dataset.whole or dataset, other.whole or other
    if (len(others), others.shape[1:]) != (len(whole), whole.shape[1:]):
        raise ValueError(
            f"{name} is {path} with {counted(len(others), 'volume')} of {_size(others)}, and {data} has {len(whole)} of "
            f"{_size(whole)}; expected as many, of one size"
        )
    return split(other, 0 if dataset.selection is None else len(dataset.selection))


def _size(dataset: Dataset) -> str:
    return " x ".join(map(str, dataset.shape[1:]))


def _train(dataset: Dataset) -> Tensor:
    return dataset.stored if dataset.rows is None else dataset.stored[dataset.rows]


def _float(values: Any) -> Tensor:
    found: Tensor = values.float()
    return found


def _joined(even: Tensor | None, odd: Tensor | None) -> Tensor | None:
    return None if even is None or odd is None else torch.cat([_float(even)[:, :1], _float(odd)[:, :1]], 1)
