"""The numbers of a run, gathered without waiting for the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stats:
    """One line of stats.jsonl: where the run is, and means over the steps since the line before.

    Attributes:
        step: Generator steps so far.
        images: Real samples the critic has seen so far.
        seconds: Time since the first step.
        critic_loss: penalty - wasserstein.
        wasserstein: The critic's estimate of the distance, mean f(real) - mean f(fake).
        penalty: The weighted gradient penalty, as are the two norms over the steps that have one.
        norm_mean: The gradient's norm at the interpolates.
        norm_max: The largest such norm.
        generator_loss: -mean f(fake).
    """

    step: int
    images: int
    seconds: float
    critic_loss: float
    wasserstein: float
    penalty: float
    norm_mean: float
    norm_max: float
    generator_loss: float


class Meter:
    """Means and maxima of 0-d tensors, kept on their device until they are read."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, **values: Tensor | None) -> None:
        """Takes one value of each name, None for none; a name that ends in ``_max`` is reduced by its maximum, any other
        by its mean."""
        for name, value in values.items():
            if value is not None:
                self._values.setdefault(name, []).append(value.detach())

    def read(self) -> dict[str, float]:
        """The numbers since the last reading, in one transfer."""
        reduced = [
            torch.stack(values).amax() if name.endswith("_max") else torch.stack(values).mean()
            for name, values in self._values.items()
        ]
        numbers = dict(zip(self._values, torch.stack(reduced).tolist(), strict=True))
        self._values.clear()
        return numbers
