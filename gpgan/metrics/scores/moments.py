"""Means and covariances of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

ROWS = 4096


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``[d]`` and covariance ``[d, d]`` (divided by n - 1) of features ``[n, d]``, n at least 2, in float64.

    The first sample is subtracted before anything is multiplied: features far from 0 would lose the covariance.
    """
    (whole,) = moments_of_first(features, [len(features)])
    return whole


def moments_of_first(features: Tensor, counts: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """The moments of the first ``counts`` samples, which ascend, in one pass over the features."""
    shift = features[0].double()
    total = torch.zeros_like(shift)
    products = torch.zeros(len(shift), len(shift), dtype=torch.float64)
    done = 0
    for n in counts:
        for rows in torch.split(features[done:n], ROWS):
            moved = rows.double() - shift
            total += moved.sum(0)
            products += moved.T @ moved
        done = n
        mean = total / n
        yield shift + mean, (products - n * torch.outer(mean, mean)) / (n - 1)


def root(covariance: Tensor) -> Tensor:
    """A matrix R with R R^T = covariance, ``[d, d]``; eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    scaled: Tensor = vectors * values.clamp(min=0).sqrt()
    return scaled
