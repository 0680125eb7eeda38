"""The relativistic paired objective (RpGAN): each real score is compared with one fake score.

The losses of critic and generator are E softplus(-(f(x) - f(y))) and E softplus(f(x) - f(y)) over pairs of a real x and
a fake y. Because every fake is compared with a real sample, the loss is not flat for a generator that drops modes.

Source:
    Jolicoeur-Martineau, The relativistic discriminator, arXiv 1807.00734, and On Relativistic f-Divergences,
    arXiv 1901.02474; with R1 and R2 it is R3GAN (Huang et al., arXiv 2501.05441, equation 2).
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from gpgan.objectives.objective import Objective


def critic_term(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E softplus(s_fake - s_real) over pairs of scores ``[B, ...]``, 0-d.

    Raises:
        ValueError: The shapes differ.
    """
    return F.softplus(_lead(fake_scores, real_scores)).mean()


def generator_term(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E softplus(s_real - s_fake) over pairs of scores ``[B, ...]``, 0-d.

    Raises:
        ValueError: The shapes differ.
    """
    return F.softplus(-_lead(fake_scores, real_scores)).mean()


def _lead(fake_scores: Tensor, real_scores: Tensor) -> Tensor:
    # torch would broadcast [B, 1] with [B] to all pairs.
    if fake_scores.shape != real_scores.shape:
        raise ValueError(
            f"real_scores has shape {tuple(real_scores.shape)} and fake_scores {tuple(fake_scores.shape)}; expected the same, "
            "as the i-th real score is compared with the i-th fake one"
        )
    return fake_scores - real_scores


RELATIVISTIC = Objective(
    "relativistic",
    critic=critic_term,
    generator=generator_term,
    divergence="relativistic paired divergence",
    symbol="RpD",
    chance=math.log(2),
    per_loss=1.0,
)
