"""Eight Gaussians on a circle."""

from __future__ import annotations

import math

import torch

from gpgan.data.dataset import Dataset

MODES = 8
RADIUS = 1.0
DEVIATION = 0.01
COUNT = 100_000
SEED = 0


def centres() -> torch.Tensor:
    """The modes [8, 2]."""
    angles = torch.arange(MODES) * (2 * math.pi / MODES)
    return RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)


def load_ring() -> Dataset:
    """100 000 points ``[2]`` from 8 Gaussians of deviation 0.01 on the unit circle, the same ones every time.

    Source:
        Srivastava et al., VEEGAN, arXiv 1705.07761; settings as in Lin et al., PacGAN, arXiv 1712.04086.
    """
    rng = torch.Generator().manual_seed(SEED)
    modes = torch.randint(MODES, (COUNT,), generator=rng)
    return Dataset("ring", centres()[modes] + DEVIATION * torch.randn(COUNT, 2, generator=rng))
