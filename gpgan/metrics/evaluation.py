"""The inputs of an evaluation's metrics, gathered once, and the definition of a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.data.dataset import Dataset

Values = dict[str, Any]


@dataclass(frozen=True)
class CriticPairs:
    """A critic, the real and fake samples ``[B, ...]`` to evaluate it on, and its further arguments."""

    critic: nn.Module
    real: Tensor
    fake: Tensor
    args: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """Samples of a run and the data to compare them with, scaled as networks see them.

    Attributes:
        dataset: The data, after its split.
        samples: ``[n, ...]``.
        reals: ``[m, ...]``: real samples, held out if the data has enough of those.
        held_out: Whether ``reals`` are held out.
        pool: ``[k, ...]``: real samples, for a metric's value between two sets of real samples.
        seed: The seed of ``rng``.
        critic: For metrics of the critic, or None.
        truths: ``[n, ...]``: the ground truth of each sample; None for samples from noise.
        features: Intermediate results that metrics share, by name: see ``cached``.
    """

    dataset: Dataset
    samples: Tensor
    reals: Tensor
    held_out: bool
    pool: Tensor
    seed: int
    critic: CriticPairs | None = None
    truths: Tensor | None = None
    features: dict[str, Tensor] = field(default_factory=dict)

    def rng(self) -> torch.Generator:
        """A new generator for each metric, so that no metric changes the numbers of another."""
        return torch.Generator().manual_seed(self.seed)

    def cached(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """The result of ``compute``, which is called once per name."""
        if name not in self.features:
            self.features[name] = compute()
        return self.features[name]


@dataclass(frozen=True)
class Metric:
    """A metric of the registry.

    Attributes:
        name: Its name in the registry.
        measure: Maps an evaluation to named numbers.
        rows: Maps these numbers to lines (label, text) for the console.
        applies: Whether an evaluation has what the metric needs.
    """

    name: str
    measure: Callable[[Evaluation], Values]
    rows: Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]]
    applies: Callable[[Evaluation], bool] = lambda evaluation: True
