"""Gradient norms of a critic; they are near the penalty's target if training went well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpgan.penalty import Critic, gradient_penalty


@dataclass(frozen=True)
class GradientNorms:
    """Statistics of the per-sample gradient norms."""

    mean: float
    std: float
    """population standard deviation (divided by N, not N - 1)"""
    max: float


def gradient_norms(
    critic: Critic, real: Tensor, fake: Tensor, *, critic_args: Sequence[Any] = (), rng: torch.Generator
) -> GradientNorms:
    """Statistics of ``|grad critic(x)|`` at interpolates x of real and fake samples, where the penalty is taken too.

    Args:
        critic: From ``[B, ...]`` to scores ``[B, ...]``. Its weights and their gradients stay as they are.
        real: ``[B, ...]``.
        fake: ``[B, ...]``.
        critic_args: Passed to the critic after x (labels).
        rng: Draws the interpolation weights; on the device of the samples.

    Raises:
        TypeError, ValueError: As for ``gpgan.gradient_penalty``.

    Source:
        Gulrajani et al., arXiv 1704.00028, algorithm 1, whose penalty uses the same interpolates.
    """
    with torch.enable_grad():
        _, norms = gradient_penalty(critic, real, fake, critic_args=critic_args, generator=rng, return_norms=True)
    norms = norms.double()
    return GradientNorms(float(norms.mean()), float(norms.std(correction=0)), float(norms.max()))
