"""The sliced Wasserstein distance: the mean W1 of random projections to a line."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.checks import check_pair

PROJECTIONS = 500
# Directions that are projected to at once.
BLOCK = 100


def sliced_wasserstein(x: Tensor, y: Tensor, *, projections: int = PROJECTIONS, rng: torch.Generator) -> float:
    """The mean over random directions of W1 between the projections of two sets of equally many samples.

    Args:
        x: ``[N, d]``.
        y: ``[N, d]``.
        projections: The number of directions.
        rng: Draws them, on the CPU.

    Raises:
        ValueError: The sets have different shapes, there are no samples, or values are not finite.

    Source:
        Rabin et al., Wasserstein Barycenter and its Application to Texture Mixing (2011); Kolouri et al., arXiv
        1902.00434.
    """
    check_equal(x, y)
    directions = torch.randn(x.shape[1], projections, generator=rng, dtype=torch.float64)
    directions /= directions.norm(dim=0)
    parts = [distances_along(x.double(), y.double(), each) for each in torch.split(directions, BLOCK, 1)]
    return float(torch.cat(parts).mean())


def distances_along(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
    """W1 ``[k]`` between the projections of x and y, ``[N, d]``, to each column of ``directions [d, k]``."""
    return ((x @ directions).sort(0).values - (y @ directions).sort(0).values).abs().mean(0)


def check_equal(x: Tensor, y: Tensor) -> None:
    """Raises ValueError unless there are equally many finite samples of equal dimension."""
    check_pair(x, y)
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} samples and y {len(y)}; expected equally many")


def _measure(evaluation: Evaluation) -> Score:
    value = sliced_wasserstein(evaluation.fake.features, evaluation.real.features, rng=evaluation.rng())
    return Score(value, settings={"projections": PROJECTIONS, "p": 1})


METRIC = Metric("sliced_w", "Sliced W1", _measure)
