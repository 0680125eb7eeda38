"""The Wasserstein-1 distance in its dual form: the maximum of E f(x) - E f(y) over 1-Lipschitz critics f.

The Lipschitz constraint needs a regulariser: a gradient penalty, weight clipping or spectral normalisation.

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
