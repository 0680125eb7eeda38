"""How well turned volumes explain observations: the likelihood of poses and classes, and its maximum near a pose.

The log-likelihood of a volume x for an observation y is ``-|y - T x|^2 / 2 s^2``, in Fourier space and by shell, up to a
constant: components of T y that no volume explains are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpgan.wedge.frequencies import multiplicity, radius
from gpgan.wedge.operators import rotate, transform
from gpgan.wedge.rotations import in_plane

# The largest turn in radians that one step of ``climb`` takes: beyond it the linear model says nothing.
LONGEST_TURN = 0.3


class Matcher:
    """Compares volumes with observations by their measured components up to a frequency.

    Args:
        transfer: T, of the shape of ``rfftn``: 0 where nothing is measured.
        variance: Of the noise in each component, of the same shape.
        shape: Of a volume.
        limit: The largest frequency in cycles per voxel; 0.5 is Nyquist's.
    """

    def __init__(self, transfer: Tensor, variance: Tensor, shape: Sequence[int], limit: float = 0.5) -> None:
        self.shape, device = tuple(shape), transfer.device
        used = (transfer != 0) & (variance > 0) & (radius(shape, device) <= limit) & (radius(shape, device) > 0)
        self.used = used.flatten().nonzero().flatten()
        weight = (multiplicity(shape, device) / variance.clamp_min(1e-300)).sqrt()
        self.weight = weight.flatten()[self.used].float()
        self.transfer = transfer.flatten()[self.used].float()

    def observed(self, observations: Tensor) -> Tensor:
        """Observations ``[B, *shape]`` as vectors of unit noise, float32 ``[B, M]``."""
        return self._vectors(observations, self.weight)

    def explained(self, volumes: Tensor) -> Tensor:
        """T of volumes ``[B, *shape]``, as such vectors."""
        return self._vectors(volumes, self.weight * self.transfer)

    def _vectors(self, volumes: Tensor, weight: Tensor) -> Tensor:
        spectrum = transform(volumes, len(self.shape)).flatten(1).index_select(1, self.used) * weight
        return torch.view_as_real(spectrum).flatten(1)

    @staticmethod
    def scores(observed: Tensor, explained: Tensor) -> Tensor:
        """Log-likelihoods ``[B, P]``, up to a constant of each observation, from ``[B, M]`` and ``[P, M]``."""
        return observed @ explained.T - explained.square().sum(1) / 2


def generators(volumes: Tensor) -> Tensor:
    """The derivatives of volumes by a small turn about each axis: ``[K, 1 + a, *shape]``, the volume itself first.

    ``exp(w) x = x + sum_a w_a L_a x`` to first order, with ``L_a x = -(e_a x p) . grad x``: a = 3 axes (x, y, z) in
    space, 1 in the plane.

    Args:
        volumes: ``[K, *shape]``.
    """
    dims = volumes.dim() - 1
    slopes = torch.gradient(volumes, dim=list(range(1, 1 + dims)))[::-1]  # by x, y, z, or by x, z
    axes = [torch.arange(size, device=volumes.device) - (size - 1) / 2 for size in volumes.shape[1:]]
    places = torch.meshgrid(*axes, indexing="ij")[::-1]
    if dims == 2:
        (x, z), (by_x, by_z) = places, slopes
        turned = [z * by_x - x * by_z]
    else:
        (x, y, z), (by_x, by_y, by_z) = places, slopes
        turned = [z * by_y - y * by_z, x * by_z - z * by_x, y * by_x - x * by_y]
    return torch.stack([volumes, *turned], 1)


def turns(vectors: Tensor) -> Tensor:
    """The rotations ``[..., d, d]`` by vectors ``[..., a]`` in radians: exp(w)."""
    if vectors.shape[-1] == 1:
        return in_plane(vectors[..., 0])
    w = vectors
    zero = torch.zeros_like(w[..., 0])
    rows = ((zero, -w[..., 2], w[..., 1]), (w[..., 2], zero, -w[..., 0]), (-w[..., 1], w[..., 0], zero))
    found: Tensor = torch.linalg.matrix_exp(torch.stack([torch.stack(row, -1) for row in rows], -2))
    return found


@dataclass(frozen=True)
class Summit:
    """Poses near a maximum of the likelihood.

    Attributes:
        rotations: float64 ``[B, d, d]``, on the CPU.
        scores: ``[B]``: see ``Matcher.scores``.
        precision: ``[B, a, a]``: minus the second derivative by a small turn w of the pose ``R exp(w)``, Gauss-Newton's.
    """

    rotations: Tensor
    scores: Tensor
    precision: Tensor


def climb(matcher: Matcher, sloped: Tensor, observed: Tensor, rotations: Tensor) -> Summit:
    """One Gauss-Newton step of each pose towards the maximum, taken where it raises the likelihood.

    ``R exp(w) x`` is ``R (x + sum_a w_a L_a x)``, so that the likelihood is a quadratic function of w.

    Args:
        matcher: Compares.
        sloped: From ``generators``, of each observation's own volume: ``[B, 1 + a, *shape]``.
        observed: ``[B, M]``.
        rotations: ``[B, d, d]``.
    """
    turned = rotate(sloped, rotations)
    explained = matcher.explained(turned.flatten(0, 1)).view(*turned.shape[:2], -1)
    here, slopes = explained[:, 0], explained[:, 1:]
    scores = own_scores(observed, here)
    force = (slopes @ (observed - here)[:, :, None])[:, :, 0]
    precision = slopes @ slopes.transpose(1, 2)
    damped = precision + 1e-6 * precision.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)[:, None, None] * torch.eye(
        precision.shape[1], device=precision.device
    )
    turn = torch.linalg.solve(damped, force)
    turn = turn * (LONGEST_TURN / turn.norm(dim=1, keepdim=True).clamp_min(LONGEST_TURN))
    ahead = rotations @ turns(turn.double().cpu())
    there = own_scores(observed, matcher.explained(rotate(sloped[:, :1], ahead)[:, 0]))
    better = there > scores
    return Summit(
        torch.where(better.cpu()[:, None, None], ahead, rotations), torch.where(better, there, scores), precision
    )


def own_scores(observed: Tensor, explained: Tensor) -> Tensor:
    """The log-likelihood of each observation for its own volume: ``[B]``."""
    return (observed * explained).sum(1) - explained.square().sum(1) / 2
