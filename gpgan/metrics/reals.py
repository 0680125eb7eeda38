"""The real samples of an evaluation: those that generated ones are compared with, and those that give the floor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gpgan.data.dataset import Dataset
from gpgan.metrics.features.network import FeatureNetwork
from gpgan.metrics.features.store import Store
from gpgan.metrics.sample_set import SampleSet

# The number of disjoint sets of real samples behind a floor.
DRAWS = 5
# At most this many training samples are searched for copies.
SEARCHED = 60_000


@dataclass(frozen=True)
class Compared:
    """What an evaluation compares samples by.

    Attributes:
        network: For the features.
        classifier: For the classes, or None.
        progress: Called with what is done, and how many of how many samples, while features are computed.
    """

    network: FeatureNetwork
    classifier: FeatureNetwork | None
    progress: Callable[[str, int, int], None] = lambda what, done, count: None

    def notes(self) -> list[str]:
        """What should be known about how the networks prepare samples."""
        other = [] if self.classifier is None else self.classifier.notes
        return list(dict.fromkeys([*self.network.notes, *other]))

    def set_of(self, what: str, values: Tensor | Rows) -> SampleSet:
        """A set of samples; what is derived from those of a data set is kept on disk."""
        key, kept = "", None
        if isinstance(values, Rows):
            key = values.digest()
            kept = Store(key, self.network.identity, "" if self.classifier is None else self.classifier.identity)
        return SampleSet(
            values, self.network, self.classifier, key, kept, lambda done, count: self.progress(what, done, count)
        )


@dataclass(frozen=True)
class Rows:
    """Rows of stored samples, scaled when they are read.

    Attributes:
        dataset: Scales them.
        stored: ``[N, ...]``.
        indices: int64 ``[n]``.
    """

    dataset: Dataset
    stored: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, part: slice) -> Tensor:
        self.dataset.check_mapped()
        return self.dataset.scaled(self.stored[self.indices[part]])

    def digest(self) -> str:
        """SHA-256, in hex, of the samples."""
        self.dataset.check_mapped()
        about = (
            tuple(self.stored.shape[1:]),
            str(self.stored.dtype),
            len(self),
            self.dataset.scale,
            self.dataset.offset,
        )
        digest = hashlib.sha256(repr(about).encode())
        for rows in torch.split(self.indices, 4096):
            digest.update(self.stored[rows].contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Reals:
    """Real samples.

    Attributes:
        real: What generated samples are compared with.
        draws: Disjoint sets, of as many samples each and none of them in ``real``, for the floor.
        training: What is searched for copies.
        held_out: Whether ``real`` was never trained on.
    """

    real: SampleSet
    draws: tuple[SampleSet, ...]
    training: SampleSet
    held_out: bool


def report_part(dataset: Dataset, n: int, seed: int, by: Compared, *, exactly: bool = False) -> Reals:
    """The reals that a report is made on: held out, if the data set has at least 2 such samples.

    Else its samples are divided: n to compare with, and the rest for the floor.

    Args:
        dataset: The data.
        n: At most so many samples of each set.
        seed: Of the choice.
        by: The networks.
        exactly: Whether to divide samples that are too few for n and a floor, so that there is no floor; else n is
            lowered.
    """
    rows = _shuffled(torch.arange(len(dataset.stored)) if dataset.rows is None else dataset.rows, seed)
    if dataset.held_out is not None and len(dataset.held_out) >= 2:
        reals = Rows(dataset, dataset.held_out, _shuffled(torch.arange(len(dataset.held_out)), seed)[:n])
        return _with_draws(reals, Rows(dataset, dataset.stored, rows[:SEARCHED]), by, True)
    n = min(n, len(rows) if exactly else max(2, len(rows) // 2))
    rest = rows[n:] if len(rows) >= 2 * n else rows
    reals = Rows(dataset, dataset.stored, rows[:n])
    return _with_draws(reals, Rows(dataset, dataset.stored, rest[:SEARCHED]), by, False, floored=len(rows) >= 2 * n)


def selection_part(dataset: Dataset, n: int, by: Compared) -> Reals:
    """The reals that checkpoints are chosen by: always the same ones, and none that a report is made on."""
    assert dataset.selection is not None
    assert dataset.rows is not None
    chosen = _shuffled(dataset.selection, 0)[:n]
    trained = _shuffled(dataset.rows, 0)[: DRAWS * len(chosen)]
    return _with_draws(Rows(dataset, dataset.stored, chosen), Rows(dataset, dataset.stored, trained), by, True)


def _with_draws(reals: Rows, rest: Rows, by: Compared, held_out: bool, floored: bool = True) -> Reals:
    n = len(reals)
    count = min(DRAWS, len(rest) // n) if floored else 0
    drawn = by.set_of("real samples for the floor", replace(rest, indices=rest.indices[: count * n]))
    draws = tuple(drawn.part(start, start + n) for start in range(0, count * n, n))
    return Reals(by.set_of("real samples", reals), draws, by.set_of("training samples", rest), held_out)


def _shuffled(rows: Tensor, seed: int) -> Tensor:
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
