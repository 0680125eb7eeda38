"""Sampling by Langevin steps: CryoWGEN-II, for voxels, where reweighting draws is hopeless."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def langevin(
    start: Tensor, slope: Callable[[Tensor], Tensor], step: float | Tensor, count: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Unadjusted Langevin steps ``x <- x - eta grad U + sqrt(2 eta) xi``, for the density ``exp(-U)``.

    With U = a x^2 / 2 the stationary variance is ``1 / (a (1 - eta a / 2))``: above that of the density, 1 / a, by the
    step's error (Roberts and Tweedie, Bernoulli 2 (1996) 341).

    Args:
        start: ``[B, ...]``.
        slope: The gradient of U, ``[B, ...]`` from ``[B, ...]``.
        step: eta, or one per number, broadcast.
        count: Steps; the first half is not averaged.
        rng: On the CPU.

    Returns:
        The mean, the standard deviation and the last iterate, ``[B, ...]`` each.
    """
    x, kept = start.clone(), 0
    mean, square = torch.zeros_like(start), torch.zeros_like(start)
    size = torch.as_tensor(step).to(start)
    for number in range(count):
        noise = torch.randn(start.shape, generator=rng).to(start)
        x = x - size * slope(x) + (2 * size).sqrt() * noise
        if number >= count // 2:
            kept += 1
            change = x - mean
            mean = mean + change / kept
            square = square + change * (x - mean)
    return mean, (square / max(kept - 1, 1)).sqrt(), x
