"""The hinge loss. It pushes real scores up to 1 and fake scores down to -1, and no further.

The best critic is sign(p - q). Its loss is 2 - 2 TV(p, q), where TV is the total variation, from 0 to 1.

Source:
    Lim and Ye, Geometric GAN, arXiv 1705.02894; Miyato et al., arXiv 1802.05957, equations 16 and 17.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gpgan.objectives.objective import Objective


def real_term(scores: Tensor) -> Tensor:
    """E max(0, 1 - s) over real scores ``[B, ...]``, 0-d."""
    return F.relu(1 - scores).mean()


def fake_term(scores: Tensor) -> Tensor:
    """E max(0, 1 + s) over fake scores ``[B, ...]``, 0-d."""
    return F.relu(1 + scores).mean()


def generator_term(scores: Tensor) -> Tensor:
    """-E s over fake scores ``[B, ...]``, 0-d."""
    return -scores.mean()


HINGE = Objective(
    "hinge",
    critic=(real_term, fake_term),
    generator=generator_term,
    divergence="total variation",
    symbol="TV",
    chance=2.0,
    per_loss=0.5,
)
