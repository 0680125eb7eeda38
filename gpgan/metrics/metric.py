"""What a metric is, what it is computed from, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gpgan.data.dataset import Mixture
from gpgan.metrics.sample_set import SampleSet


@dataclass(frozen=True)
class CriticPairs:
    """A critic, the real and fake samples ``[B, ...]`` to evaluate it on, and its further arguments.

    ``real`` are held-out samples if the data has such.
    """

    critic: nn.Module
    real: Tensor
    fake: Tensor
    args: tuple[Tensor, ...] = ()
    objective: str = "wasserstein"


@dataclass(frozen=True)
class Generated:
    """What a run gives to its evaluation.

    Attributes:
        samples: ``[n, ...]``.
        truths: ``[n, ...]``: the ground truth of each sample; None for samples from noise.
        critic: For metrics of the critic, or None.
    """

    samples: Tensor
    truths: Tensor | None = None
    critic: CriticPairs | None = None


@dataclass(frozen=True)
class Evaluation:
    """What metrics are computed from.

    Attributes:
        fake: Generated samples.
        real: Real samples to compare them with: as many, held out if the data has enough of those.
        training: The samples that the generator was trained on, for metrics of memorisation; or None.
        held_out: Whether ``real`` was never trained on; else generated samples may be copies of it too.
        truths: ``[n, ...]``: the ground truth of each of the fakes; None for samples from noise.
        mixture: The mixture of Gaussians that the data was drawn from, or None.
        scale, offset: mixture units = sample * scale + offset.
        critic: For metrics of the critic, or None.
        seed: Of ``rng``.
    """

    fake: SampleSet
    real: SampleSet
    training: SampleSet | None = None
    held_out: bool = True
    truths: Tensor | None = None
    mixture: Mixture | None = None
    scale: float = 1.0
    offset: float = 0.0
    critic: CriticPairs | None = None
    seed: int = 0

    def rng(self) -> torch.Generator:
        """A new generator for each metric, so that no metric changes the numbers of another."""
        return torch.Generator().manual_seed(self.seed)

    def first(self, count: int) -> Evaluation:
        """The same with at most ``count`` samples of each set."""
        return replace(self, fake=self.fake.first(count), real=self.real.first(count))


@dataclass(frozen=True)
class Score:
    """What a metric measures.

    Attributes:
        value: The score; NaN or infinite values are reported as none.
        details: Further numbers, by name.
        settings: What the score depends on, e.g. ``{"k": 5}``.
    """

    value: float
    details: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


Corruption = Literal["blur", "noise", "missing", "repeats", "copies"]


@dataclass(frozen=True)
class Metric:
    """A metric of the registry.

    Attributes:
        name: In the registry, in ``--metrics`` and in JSON.
        label: On the terminal and on axes, with the unit.
        better: Whether a generator is better with a lower or a higher score; "" if neither.
        measure: Computes it.
        refuses: Why an evaluation cannot be measured, with the fix, or "". If the user named the metric, the reason is an
            error; otherwise the metric is left out.
        most: At most this many samples of each set are used; 0: all.
        floored: Whether the floor is its score for real samples in place of the fakes.
        floor: Computes a floor of another kind from an evaluation whose fakes are real samples; None: ``measure``.
        sees: The corruptions that worsen it with every step of their strength (see ``gpgan.metrics.ladder``). Scores are
            placed on the ladder of the first.
        unbiased: Whether its expectation does not depend on the number of samples.
        warn: What fools it in this evaluation, or "", e.g. a Fréchet distance with few samples.
    """

    name: str
    label: str
    measure: Callable[[Evaluation], Score]
    better: Literal["lower", "higher", ""] = "lower"
    refuses: Callable[[Evaluation], str] = lambda evaluation: ""
    most: int = 0
    floored: bool = True
    floor: Callable[[Evaluation], Score] | None = None
    sees: Sequence[Corruption] = ()
    unbiased: bool = False
    warn: Callable[[Evaluation], str] = lambda evaluation: ""


@dataclass(frozen=True)
class Result:
    """A score with what it is compared with.

    Attributes:
        score: None if it is not finite.
        floor: The mean of what real samples score in place of generated ones, or None.
        deviation: The standard deviation of a single draw of those, or None with fewer than two.
        n: The number of samples of each set.
        draws: The number of draws behind the floor.
        settings: What the score depends on.
        details: Further numbers.
        place: On the data's ladder, e.g. "as blur 0.7"; "" if there is none.
        note: What fools the score here, or "".
    """

    score: float | None
    floor: float | None
    deviation: float | None
    n: int
    draws: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, float | None] = field(default_factory=dict)
    place: str = ""
    note: str = ""
