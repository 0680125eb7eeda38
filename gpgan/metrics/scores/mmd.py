"""MMD: the squared maximum mean discrepancy under a Gaussian kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.checks import check_pair
from gpgan.metrics.scores.neighbours import BLOCK

# The bandwidth is the median distance among so many real samples.
PAIRED = 1000


def gaussian_mmd(x: Tensor, y: Tensor, bandwidth: float) -> float:
    """The unbiased squared MMD under exp(-|x - y|^2 / (2 bandwidth^2)), from all pairs; its expectation is 0 for sets of
    one distribution, so that chance can make it negative.

    Args:
        x: ``[N, d]``, N at least 2.
        y: ``[M, d]``, M at least 2.
        bandwidth: In units of distance, above 0.

    Raises:
        ValueError: There are fewer samples, their dimensions differ, or are not finite, or the bandwidth is not above 0.

    Source:
        Gretton et al., A Kernel Two-Sample Test (2012), equation 3.
    """
    check_pair(x, y, 2)
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth is {bandwidth}; expected a finite number above 0")
    n, m = len(x), len(y)
    within = [(_sum(each, each, bandwidth) - len(each)) / (len(each) * (len(each) - 1)) for each in (x, y)]
    return sum(within) - 2 * _sum(x, y, bandwidth) / (n * m)


def _sum(x: Tensor, y: Tensor, bandwidth: float) -> float:
    x, y = x.double(), y.double()
    x, y = x - y.mean(0), y - y.mean(0)
    lengths = y.square().sum(1)
    total = 0.0
    for rows in torch.split(x, max(1, BLOCK // 2 // len(y))):
        squares = (rows.square().sum(1, keepdim=True) + lengths - 2 * rows @ y.T).clamp_(min=0)
        total += float(squares.mul_(-0.5 / bandwidth**2).exp_().sum())
    return total


def _measure(evaluation: Evaluation) -> Score:
    real = evaluation.real.features
    bandwidth = float(torch.pdist(real[:PAIRED].double()).median())
    if bandwidth == 0:
        bandwidth = 1.0
    return Score(gaussian_mmd(evaluation.fake.features, real, bandwidth), settings={"bandwidth": bandwidth})


METRIC = Metric("mmd", "MMD, squared", _measure, unbiased=True)
