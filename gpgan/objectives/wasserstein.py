"""The Wasserstein-1 distance as its dual: E f(x) - E f(y), largest over critics f that are 1-Lipschitz.

The critic has to be held to that by other means: a gradient penalty, weight clipping, spectral normalisation.

Source:
    Arjovsky, Chintala and Bottou, Wasserstein GAN, arXiv 1701.07875, equations 2 and 3.
"""

from __future__ import annotations

from torch import Tensor

from gpgan.objectives.objective import Objective


def real_term(scores: Tensor) -> Tensor:
    """-E f over real scores ``[B, ...]``, 0-d."""
    return -scores.mean()


def fake_term(scores: Tensor) -> Tensor:
    """E f over fake scores ``[B, ...]``, 0-d."""
    return scores.mean()


def generator_term(scores: Tensor) -> Tensor:
    """-E f over fake scores ``[B, ...]``, 0-d."""
    return -scores.mean()


WASSERSTEIN = Objective(
    "wasserstein",
    critic=(real_term, fake_term),
    generator=generator_term,
    divergence="Wasserstein-1 distance",
    symbol="W1",
    chance=0.0,
    per_loss=1.0,
)
