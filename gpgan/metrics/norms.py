"""Gradient norms of a critic: near the penalty's target where training went well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpgan.penalty import Critic, gradient_penalty


@dataclass(frozen=True)
class GradientNorms:
    """Of the norms of single samples."""

    mean: float
    std: float
    """that of the norms themselves: divided by their number, not by one less"""
    max: float


def gradient_norms(
    critic: Critic, real: Tensor, fake: Tensor, *, critic_args: Sequence[Any] = (), generator: torch.Generator
) -> GradientNorms:
    """Statistics of ``|grad critic(x)|`` at interpolates x of real and fake, which are the penalty's own points.

    Args:
        critic: From ``[B, ...]`` to scores ``[B, ...]``. Its weights and their gradients stay as they are.
        real: ``[B, ...]``.
        fake: Likewise.
        critic_args: Passed on after x (labels).
        generator: For where between real and fake x lies; on the device of the samples.

    Raises:
        TypeError, ValueError: As ``gpgan.gradient_penalty``.

    Source:
        Gulrajani et al., arXiv 1704.00028, algorithm 1: the points are those of its penalty.
    """
    with torch.enable_grad():
        _, norms = gradient_penalty(critic, real, fake, critic_args=critic_args, generator=generator, return_norms=True)
    norms = norms.double()
    return GradientNorms(float(norms.mean()), float(norms.std(correction=0)), float(norms.max()))
