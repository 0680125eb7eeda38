"""FD, the Fréchet distance between Gaussians fitted to features."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.sample_set import SampleSet
from gpgan.metrics.scores.checks import check_pair
from gpgan.metrics.scores.moments import moments, root

# With fewer samples than this times the features the floor swamps everything.
ENOUGH = 5


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """|m - n|^2 + tr(A + B - 2 (A B)^(1/2)) for the means m, n and covariances A, B of two sets of features.

    Never complex, for fewer samples than features too: tr (A B)^(1/2) is the sum of the roots of the eigenvalues of the
    symmetric R^T B R, where A = R R^T. Right to 13 digits for the features of a network, to 6 if eigenvalues span 8 orders
    of magnitude.

    Args:
        x: ``[N, d]``, N at least 2.
        y: ``[M, d]``, M at least 2.

    Raises:
        ValueError: There are fewer samples, their features differ in number, or are not finite.

    Source:
        Dowson and Landau (1982); Heusel et al., arXiv 1706.08500, which use it with Inception's features as FID.
    """
    check_pair(x, y, 2)
    if len(y) < len(x):
        x, y = y, x  # R is then the smaller one
    return of_moments(*_root_of(x), *moments(y))


def of_moments(mean: Tensor, of_x: Tensor, other: Tensor, of_y: Tensor) -> float:
    """The distance of two Gaussians: the mean ``[d]`` and a root ``[d, k]`` of the covariance of one, the mean and the
    covariance ``[d, d]`` of the other."""
    between = torch.linalg.eigvalsh(of_x.T @ of_y @ of_x).clamp(min=0).sqrt()
    total = (mean - other).square().sum() + of_x.square().sum() + of_y.trace() - 2 * between.sum()
    # Rounding can make it slightly negative.
    return max(float(total), 0.0)


def _root_of(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, and a root of the covariance: the centred features themselves if they are fewer than d."""
    if len(features) <= features.shape[1]:
        mean = features.double().mean(0)
        return mean, (features.double() - mean).T / (len(features) - 1) ** 0.5
    mean, covariance = moments(features)
    return mean, root(covariance)


def _kept(samples: SampleSet) -> tuple[Tensor, Tensor]:
    """Mean ``[d]`` and root ``[d, k]`` of the covariance of a set's features; kept with the set."""

    def compute() -> Tensor:
        mean, covariance_root = _root_of(samples.features)
        return torch.cat([mean[:, None], covariance_root], 1)

    both = samples.derived("mean and root of covariance", compute)
    return both[:, 0], both[:, 1:]


def _measure(evaluation: Evaluation) -> Score:
    return Score(of_moments(*_kept(evaluation.real), *moments(evaluation.fake.features)))


def _sizes(evaluation: Evaluation) -> tuple[int, int]:
    network = evaluation.fake.network
    assert network is not None
    return min(len(evaluation.fake), len(evaluation.real)), network.dimension


def _refuses(evaluation: Evaluation) -> str:
    n, d = _sizes(evaluation)
    if n > d:
        return ""
    return f"n is {n} and there are {d} features; expected more samples than features: use kd, which has no bias"


def _warn(evaluation: Evaluation) -> str:
    n, d = _sizes(evaluation)
    if n >= ENOUGH * d:
        return ""
    return f"n is {n}, less than {ENOUGH} times the {d} features: mostly bias, compare only with the floor; kd has none"


METRIC = Metric("fd", "FD", _measure, refuses=_refuses, warn=_warn, sees=("blur", "noise", "missing", "repeats"))
