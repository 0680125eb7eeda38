"""A set of samples with everything that metrics derive from it, each computed once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from gpgan.metrics.features.network import FeatureNetwork

# Samples that go through a network at once.
BATCH = 250


class Kept(Protocol):
    """Keeps results on disk: see ``gpgan.metrics.features.store``."""

    def get(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """The result kept under a name, or else that of ``compute``, which is then kept."""


class Values(Protocol):
    """A Tensor ``[n, ...]``, or rows of a data set that are read as they are needed."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


class SampleSet:
    """Samples, scaled as networks see them, and what metrics derive from them.

    Args:
        values: ``[n, ...]``.
        network: For ``features``; None if no metric needs them.
        classifier: For ``probabilities``; None if there is none.
        key: Tells the samples from any others, for real samples.
        kept: Keeps derived results on disk, for real samples; None: in memory only.
        progress: Called with (samples done, samples in all) while features are computed.
    """

    def __init__(
        self,
        values: Values,
        network: FeatureNetwork | None = None,
        classifier: FeatureNetwork | None = None,
        key: str = "",
        kept: Kept | None = None,
        progress: Callable[[int, int], None] = lambda done, count: None,
    ) -> None:
        self.values, self.network, self.classifier = values, network, classifier
        self.key, self._kept, self._progress = key, kept, progress
        self._derived: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.values)

    @functools.cached_property
    def vectors(self) -> Tensor:
        """The samples themselves, float64 ``[n, D]`` on the CPU."""
        return self.values[:].detach().to("cpu", torch.float64).flatten(1)

    @property
    def features(self) -> Tensor:
        """float32 ``[n, d]``, finite."""
        assert self.network is not None
        return self.derived("features", functools.partial(self._features_of, self.network))

    @property
    def probabilities(self) -> Tensor:
        """float32 ``[n, K]``: the classifier's probabilities; they sum to 1."""
        return self.derived("probabilities", self._classify)

    def derived(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """The result of ``compute``, which is called once per name, e.g. "squared radius, k 5"."""
        if name not in self._derived:
            self._derived[name] = compute() if self._kept is None else self._kept.get(name, compute)
        return self._derived[name]

    def part(self, start: int, end: int) -> SampleSet:
        """The samples from ``start`` to ``end``, whose features are read from this set's."""
        return _Part(self, start, min(end, len(self)))

    def first(self, count: int) -> SampleSet:
        """The first ``count`` samples; the set itself if it has no more."""
        return self if count >= len(self) else self.part(0, count)

    def _classify(self) -> Tensor:
        assert self.classifier is not None
        same = self.network is not None and self.network.identity == self.classifier.identity
        return self.classifier.probabilities(self.features if same else self._features_of(self.classifier))

    def _features_of(self, network: FeatureNetwork) -> Tensor:
        parts: list[Tensor] = []
        finite: list[Tensor] = []
        done = 0
        for start in range(0, len(self), BATCH):
            batch = self.values[start : start + BATCH]
            parts.append(network.features(batch))
            # A network that clamps its input makes finite features of infinite samples.
            finite.append(batch.flatten(1).isfinite().all(1).cpu())
            done += len(batch)
            self._progress(done, len(self))
        features = torch.cat(parts)
        bad = int((~(torch.cat(finite) & features.isfinite().all(1))).sum())
        if bad:
            raise ValueError(
                f"{bad} of {len(self)} samples or their features by {network.name} are not finite; expected finite "
                "samples: the generator has diverged, or the data holds NaN"
            )
        return features


class _Part(SampleSet):
    def __init__(self, whole: SampleSet, start: int, end: int) -> None:
        key = f"{whole.key} {start}:{end}" if whole.key else ""
        super().__init__(whole.values[start:end], whole.network, whole.classifier, key)
        self._whole, self._rows = whole, slice(start, end)

    @property
    def features(self) -> Tensor:
        return self._whole.features[self._rows]

    @property
    def probabilities(self) -> Tensor:
        return self._whole.probabilities[self._rows]
