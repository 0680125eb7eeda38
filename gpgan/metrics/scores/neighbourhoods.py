"""How two sets of features lie in each other's neighbourhoods: precision, recall, density and coverage in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation
from gpgan.metrics.sample_set import SampleSet
from gpgan.metrics.scores.checks import check_pair
from gpgan.metrics.scores.neighbours import blocks_of_squares, nearest, radii

# A neighbourhood reaches to the K-th nearest sample of the same set.
K = 5


@dataclass(frozen=True)
class Neighbourhoods:
    """Attributes:
    precision: Share of the fakes that lie in the neighbourhood of a real sample.
    recall: Share of the real samples that lie in the neighbourhood of a fake.
    density: The mean number of real neighbourhoods around a fake, divided by K; it can be above 1.
    coverage: Share of the real samples whose neighbourhood holds a fake.
    """

    precision: float
    recall: float
    density: float
    coverage: float


# By fake and real set, for as long as both exist: they depend on two sets, and derived() keeps what depends on one.
_MEASURED: WeakKeyDictionary[SampleSet, WeakKeyDictionary[SampleSet, Neighbourhoods]] = WeakKeyDictionary()


def neighbourhoods(fake: Tensor, real: Tensor, k: int = K) -> Neighbourhoods:
    """Compares features of generated and real samples.

    The radius itself belongs to the neighbourhood, so that sets of equal samples cover each other.

    Args:
        fake: ``[N, d]``, N above k.
        real: ``[M, d]``, M above k.
        k: See ``K``.

    Raises:
        ValueError: There are fewer samples, their features differ in number, or are not finite.

    Source:
        Kynkaanniemi et al., arXiv 1904.06991 (precision, recall); Naeem et al., arXiv 2002.09797 (density, coverage).
    """
    check_pair(fake, real, k + 1, ("fake", "real"))
    of_fake, of_real = (nearest(each, each, k + 1)[0][:, k] for each in (fake, real))
    return Neighbourhoods(*_shares(fake, real, of_fake, of_real, k).tolist())


def _shares(fake: Tensor, real: Tensor, of_fake: Tensor, of_real: Tensor, k: int) -> Tensor:
    """The four numbers, given the squared radii of both sets."""
    precise = inside = 0.0
    recalled = torch.zeros(len(real), dtype=torch.bool)
    covered = torch.zeros(len(real), dtype=torch.bool)
    for start, squares in blocks_of_squares(fake, real):
        within = squares <= of_real
        precise += float(within.any(1).sum())
        inside += float(within.sum())
        covered |= within.any(0)
        recalled |= (squares <= of_fake[start : start + len(squares), None]).any(0)
    n, m = len(fake), len(real)
    numbers = [precise / n, float(recalled.sum()) / m, inside / (k * n), float(covered.sum()) / m]
    return torch.tensor(numbers, dtype=torch.float64)


def measured(evaluation: Evaluation) -> Neighbourhoods:
    """The four numbers of an evaluation, computed once for all four metrics."""
    fake, real = evaluation.fake, evaluation.real
    found = _MEASURED.setdefault(fake, WeakKeyDictionary())
    if real not in found:
        shares = _shares(fake.features, real.features, radii(fake, K), radii(real, K), K)
        found[real] = Neighbourhoods(*shares.tolist())
    return found[real]


def refuses(evaluation: Evaluation) -> str:
    """Why there are no neighbourhoods to compare, or ""."""
    for name, samples in (("fake", evaluation.fake), ("real", evaluation.real)):
        if reason := _few(name, samples):
            return reason
    return ""


def _few(name: str, samples: SampleSet) -> str:
    return f"{name} has {len(samples)} samples; expected more than k = {K}" if len(samples) <= K else ""
