"""The original GAN objective: the generator minimises what the discriminator maximises.

    V(D, G) = E log D(x) + E log(1 - D(G(z))),    D = sigmoid(score)

The best discriminator is D*(x) = p(x) / (p(x) + q(x)), with score log(p(x) / q(x)). There V = 2 JS(p, q) - log 4.

Source:
    Goodfellow et al., Generative Adversarial Nets, arXiv 1406.2661, equation 1, proposition 1 and theorem 1.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from gpgan.objectives.objective import Objective


def real_term(scores: Tensor) -> Tensor:
    """-E log D = E softplus(-s) over real scores ``[B, ...]``, 0-d."""
    return F.softplus(-scores).mean()


def fake_term(scores: Tensor) -> Tensor:
    """-E log(1 - D) = E softplus(s) over fake scores ``[B, ...]``, 0-d."""
    return F.softplus(scores).mean()


def generator_term(scores: Tensor) -> Tensor:
    """E log(1 - D) = -E softplus(s) over fake scores ``[B, ...]``, 0-d. Flat where D is near 0."""
    return -F.softplus(scores).mean()


MINIMAX = Objective(
    "minimax",
    critic=(real_term, fake_term),
    generator=generator_term,
    divergence="Jensen-Shannon divergence",
    symbol="JS",
    chance=2 * math.log(2),
    per_loss=0.5,
)
