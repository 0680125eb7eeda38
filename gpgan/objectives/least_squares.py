"""Least squares: the critic's targets are 1 for real and 0 for fake samples, the generator's target is 1.

The best critic is p / (p + q). Its loss is 1/2 * integral p q / (p + q) = 1/4 - TD/4, where TD is the triangular
discrimination 1/2 * integral (p - q)^2 / (p + q), from 0 to 1.

Source:
    Mao et al., Least Squares Generative Adversarial Networks, arXiv 1611.04076, equations 2 and 9 (b = c = 1, a = 0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.objectives.objective import Objective


def real_term(scores: Tensor) -> Tensor:
    """1/2 E (s - 1)^2 over real scores ``[B, ...]``, 0-d."""
    return (_wide(scores) - 1).square().mean() / 2


def fake_term(scores: Tensor) -> Tensor:
    """1/2 E s^2 over fake scores ``[B, ...]``, 0-d."""
    return _wide(scores).square().mean() / 2


def generator_term(scores: Tensor) -> Tensor:
    """1/2 E (s - 1)^2 over fake scores ``[B, ...]``, 0-d."""
    return (_wide(scores) - 1).square().mean() / 2


def _wide(scores: Tensor) -> Tensor:
    """Scores in float32 at least: the square of 256 overflows float16."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


LEAST_SQUARES = Objective(
    "least-squares",
    critic=(real_term, fake_term),
    generator=generator_term,
    divergence="triangular discrimination",
    symbol="TD",
    chance=0.25,
    per_loss=4.0,
)
