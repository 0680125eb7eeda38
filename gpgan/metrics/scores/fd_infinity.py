"""FD-infinity: the Fréchet distance extrapolated to infinitely many samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.checks import check_pair
from gpgan.metrics.scores.fd import of_moments
from gpgan.metrics.scores.moments import moments_of_first, root

# FD is measured with these shares of the samples.
SHARES = (0.5, 0.6, 0.7, 0.85, 1.0)


def frechet_distance_infinity(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    """The value at 1/n = 0 of a line through FD at several n, fitted by least squares.

    FD's bias is proportional to 1/n at large n. Both sets are reduced together, as both have that bias.

    Args:
        x: ``[N, d]``.
        y: ``[M, d]``.
        rng: Draws the subsets.

    Raises:
        ValueError: As for ``frechet_distance``, or half of the samples are no more than the features.

    Source:
        Chong and Forsyth, Effectively Unbiased FID and Inception Score, arXiv 1911.07023.
    """
    check_pair(x, y, 2)
    n = min(len(x), len(y))
    if n * SHARES[0] <= x.shape[1]:
        raise ValueError(
            f"n is {n} and there are {x.shape[1]} features; expected more than {_least(x.shape[1])} samples"
        )
    x, y = x[torch.randperm(len(x), generator=rng)], y[torch.randperm(len(y), generator=rng)]
    counts = [round(n * share) for share in SHARES]
    both = zip(moments_of_first(x, counts), moments_of_first(y, counts), strict=True)
    return extrapolated(counts, [of_moments(mean, root(of_x), other, of_y) for (mean, of_x), (other, of_y) in both])


def extrapolated(counts: Sequence[int], values: Sequence[float]) -> float:
    """The value at 1/n = 0 of the line in 1/n through values at several n."""
    inverse = torch.tensor([1 / count for count in counts], dtype=torch.float64)
    inverse, measured = inverse - inverse.mean(), torch.tensor(values, dtype=torch.float64)
    slope = (inverse * measured).sum() / inverse.square().sum()
    return float(measured.mean() - slope * sum(1 / count for count in counts) / len(counts))


def _least(dimension: int) -> int:
    return int(dimension / SHARES[0])


def _measure(evaluation: Evaluation) -> Score:
    value = frechet_distance_infinity(evaluation.fake.features, evaluation.real.features, evaluation.rng())
    return Score(value, settings={"shares of n": list(SHARES)})


def _refuses(evaluation: Evaluation) -> str:
    network = evaluation.fake.network
    assert network is not None
    n, least = min(len(evaluation.fake), len(evaluation.real)), _least(network.dimension)
    if n > least:
        return ""
    return f"n is {n} and there are {network.dimension} features; expected more than {least} samples: use kd, which has no bias"


METRIC = Metric("fd_infinity", "FD-infinity", _measure, refuses=_refuses, sees=("blur", "noise", "missing"))
