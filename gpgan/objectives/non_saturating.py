"""The original GAN discriminator with a generator that maximises log D(G(z)) instead of minimising log(1 - D(G(z))).

Both have the same fixed point. This generator's gradient stays large if the discriminator is confident.

Source:
    Goodfellow et al., Generative Adversarial Nets, arXiv 1406.2661, section 3. With R1 it is StyleGAN's logistic loss.
"""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from gpgan.objectives.minimax import MINIMAX


def generator_term(scores: Tensor) -> Tensor:
    """-E log D = E softplus(-s) over fake scores ``[B, ...]``, 0-d."""
    return F.softplus(-scores).mean()


NON_SATURATING = replace(MINIMAX, name="non-saturating", generator=generator_term)
