"""What the metrics of one evaluation look at, gathered once, and what a metric is."""

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
    """A critic, and the real and fake samples ``[B, ...]`` it is asked about, with its further arguments."""

    critic: nn.Module
    real: Tensor
    fake: Tensor
    args: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """Samples of a run and what they are compared with, scaled as networks see them.

    Attributes:
        dataset: The data, after its split.
        samples: ``[n, ...]``.
        reals: ``[m, ...]``, held out if the data has enough such samples.
        held_out: Whether they are.
        pool: ``[k, ...]``: real samples, for what a metric is between two sets of these.
        seed: Of the evaluation: ``rng`` starts from it.
        critic: For metrics of the critic; None without one.
        truths: ``[n, ...]``: what each sample should be, where that is known; None for samples from noise.
        features: What several metrics compute alike, by name: see ``cached``.
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
        """A random state of a metric's own, so that no metric changes the numbers of another."""
        return torch.Generator().manual_seed(self.seed)

    def cached(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """What ``compute`` returns, computed once for each name."""
        if name not in self.features:
            self.features[name] = compute()
        return self.features[name]


@dataclass(frozen=True)
class Metric:
    """A metric of the registry.

    Attributes:
        name: In the registry.
        measure: From an evaluation to numbers by name.
        rows: From these numbers to lines (label, text) for the console.
        applies: Whether an evaluation has what the metric needs.
    """

    name: str
    measure: Callable[[Evaluation], Values]
    rows: Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]]
    applies: Callable[[Evaluation], bool] = lambda evaluation: True
