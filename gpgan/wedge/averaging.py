"""The volume that explains turned observations best: a weighted average in Fourier space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gpgan.wedge.frequencies import radius, vectors
from gpgan.wedge.mask import Wedge
from gpgan.wedge.operators import inverse, rotate, transform


class Average:
    """Sums of observations turned back, and of how often each component was measured.

    The minimum over x of ``sum_i w_i |y_i - T R_i x|^2 / 2 s^2`` with a Gaussian prior is at
    ``F^-1[ sum w c F(R^T y) / v / (sum w c^2 m(R k) / v + tau) ]``, with the CTF c, the noise v and the mask m.

    Args:
        wedge: The tilt range.
        ctf: The CTF, of the shape of ``rfftn``, or None.
        variance: Of the noise, of the same shape: constant in each shell.
        shape: Of a volume.
        count: The number of volumes K.
    """

    def __init__(self, wedge: Wedge, ctf: Tensor | None, variance: Tensor, shape: Sequence[int], count: int) -> None:
        self.wedge, self.shape, self.device = wedge, tuple(shape), variance.device
        self.k = vectors(shape, self.device).float()
        known = torch.where(variance > 0, 1 / variance.clamp_min(1e-300), 0.0).float()
        self.gain = known if ctf is None else known * ctf.float()
        self.weight = known if ctf is None else known * ctf.float().square()
        self.inside = radius(shape, self.device) <= 0.5
        self.numerator = torch.zeros(count, *variance.shape, dtype=torch.complex64, device=self.device)
        self.denominator = torch.zeros(count, *variance.shape, device=self.device)

    def add(self, share: float, turned: Tensor, weights: Tensor, rotations: Tensor, classes: Tensor) -> None:
        """Moves the sums by a share towards those of new observations: an average that forgets.

        Args:
            share: 0 to 1; 1 forgets everything before.
            turned: Observations, each times its weight, or sums of such in one pose: ``[Q, *shape]``.
            weights: The weight in each, ``[Q]``.
            rotations: Their poses, ``[Q, d, d]``.
            classes: The volume that each belongs to, int64 ``[Q]``.
        """
        self.numerator *= 1 - share
        self.denominator *= 1 - share
        back = rotate(turned[:, None], rotations.transpose(1, 2))[:, 0]
        sums = torch.zeros(len(self.numerator), *self.shape, device=self.device).index_add_(0, classes, back)
        self.numerator += share * self.gain * transform(sums, len(self.shape))
        lead = (len(rotations), *([1] * (len(self.shape) - 1)))
        inverse_turns = rotations.transpose(1, 2).to(self.k).reshape(*lead, *rotations.shape[1:])
        measured = self.wedge.contains(self.k @ inverse_turns) * weights.reshape(*lead, 1)  # at R k
        often = torch.zeros_like(self.denominator).index_add_(0, classes, measured)
        self.denominator += share * self.weight * often

    def volumes(self, tau: float) -> Tensor:
        """The volumes ``[K, *shape]``; ``tau`` is the prior's weight, as of that many observations."""
        prior = tau * self.weight[self.inside].mean()
        spectrum = self.numerator / (self.denominator + prior)
        return inverse(spectrum * self.inside, self.shape)

    def deviation(self, tau: float) -> Tensor:
        """The standard deviation of each component of the volumes, ``[K, ...]`` of the shape of ``rfftn``."""
        prior = tau * self.weight[self.inside].mean()
        return (self.denominator + prior).rsqrt()


def ball(shape: Sequence[int], share: float, device: torch.device | str = "cpu", soft: float = 2.0) -> Tensor:
    """1 within a share of the largest ball of a volume, falling to 0 over ``soft`` voxels by a cosine: ``[*shape]``."""
    axes = [torch.arange(size, device=device, dtype=torch.float64) - (size - 1) / 2 for size in shape]
    squares = [each.square() for each in torch.meshgrid(*axes, indexing="ij")]
    distance = torch.stack(squares).sum(0).sqrt()
    edge = share * min(shape) / 2
    past = ((distance - edge + soft) / soft).clamp(0, 1)
    return ((1 + (torch.pi * past).cos()) / 2).float()
