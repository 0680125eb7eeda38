"""Nearest neighbours among features, in blocks: 10,000 against 10,000 samples need a block of 80 MB at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gpgan.metrics.sample_set import SampleSet

# Numbers in a block of distances.
BLOCK = 20_000_000
# Up to so many features differences are squared and summed: in few dimensions neighbours can be much nearer to each other
# than to the origin, and products would lose their distance.
DIRECT = 32
# float32 products leave up to 1e-6 of |x|^2 + |y|^2 between equal rows; distances are lowered by this share of it.
ROUNDING = 2e-6


def blocks_of_squares(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, squared distances ``[rows, M]``) for consecutive rows of x; float32.

    Equal rows have a distance of exactly 0, and the distance of x to y is exactly that of y to x, so that neighbourhoods
    of repeated and of equal sets are what they are by definition. Of many features |x|^2 + |y|^2 - 2 x.y is computed,
    after both were moved by the mean of y, as it loses its digits far from the origin.

    Args:
        x: ``[N, d]``.
        y: ``[M, d]``.
    """
    x, y = x.float(), y.float()
    size = max(1, BLOCK // max(1, len(y)))
    if x.shape[1] <= DIRECT:
        for start in range(0, len(x), size):
            rows = x[start : start + size]
            yield start, torch.cdist(rows, y, compute_mode="donot_use_mm_for_euclid_dist").square_()
        return
    # In float32, as a copy in float64 of 60,000 rows is large; equal moves of both change no distance.
    centre = y.mean(0)
    x, y = x - centre, y - centre
    of_x, of_y = ((1 - ROUNDING) * each.square().sum(1) for each in (x, y))
    for start in range(0, len(x), size):
        total = of_x[start : start + size, None] + of_y
        yield start, total.sub_(x[start : start + size] @ y.T, alpha=2).clamp_(min=0)


def nearest(x: Tensor, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest rows of y to each row of x: squared distances and indices, ``[N, k]`` each, the nearest first."""
    found = [squares.topk(k, 1, largest=False) for _, squares in blocks_of_squares(x, y)]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def nearest_squares(x: Tensor, y: Tensor, *, unequal: bool = False) -> Tensor:
    """The squared distance ``[N]`` of each row of x to the nearest of y; with ``unequal`` to the nearest that it is not
    equal to, infinite if it equals all."""
    return torch.cat(
        [
            (squares.masked_fill_(squares == 0, math.inf) if unequal else squares).amin(1)
            for _, squares in blocks_of_squares(x, y)
        ]
    )


def radii(samples: SampleSet, k: int) -> Tensor:
    """The squared distance of each sample to its k-th neighbour in the same set, ``[n]``; kept with the set."""

    def compute() -> Tensor:
        features = samples.features
        return nearest(features, features, k + 1)[0][:, k]  # the nearest is the sample itself

    return samples.derived(f"squared distance to neighbour {k}", compute)
