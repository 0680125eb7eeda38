"""Points in the plane, the same on every call: two mixtures of Gaussians and a spiral."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gpgan.data.dataset import Dataset, Mixture

COUNT = 100_000
SEED = 0


def load_ring() -> Dataset:
    """100 000 points ``[2]`` from 8 Gaussians of deviation 0.01 on the unit circle.

    Source:
        Srivastava et al., VEEGAN, arXiv 1705.07761; settings as in Lin et al., PacGAN, arXiv 1712.04086.
    """
    angles = torch.arange(8) * (2 * math.pi / 8)
    return _mixture("ring", torch.stack([angles.cos(), angles.sin()], dim=1), 0.01)


def load_grid() -> Dataset:
    """100 000 points ``[2]`` from 25 Gaussians of deviation 0.05 on {-4, -2, 0, 2, 4}^2.

    Source:
        As for ``load_ring``.
    """
    ticks = torch.arange(-4.0, 5.0, 2.0)
    return _mixture("grid", torch.cartesian_prod(ticks, ticks), 0.05)


def load_swissroll() -> Dataset:
    """100 000 points ``[2]`` along a spiral: t (cos t, sin t) for t from 1.5 pi to 4.5 pi, noise 0.25, all over 7.5.

    Source:
        The toy data of Gulrajani et al., arXiv 1704.00028, which takes two axes of scikit-learn's swiss roll.
    """
    rng = torch.Generator().manual_seed(SEED)
    t = 1.5 * math.pi * (1 + 2 * torch.rand(COUNT, generator=rng))
    points = torch.stack([t * t.cos(), t * t.sin()], dim=1) + 0.25 * torch.randn(COUNT, 2, generator=rng)
    return Dataset("swissroll", points / 7.5)


def _mixture(name: str, centres: Tensor, deviation: float) -> Dataset:
    rng = torch.Generator().manual_seed(SEED)
    modes = torch.randint(len(centres), (COUNT,), generator=rng)
    points = centres[modes] + deviation * torch.randn(COUNT, 2, generator=rng)
    return Dataset(name, points, modes=Mixture(centres, deviation))
