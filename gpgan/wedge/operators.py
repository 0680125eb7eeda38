"""The linear parts of the forward model, each with its exact adjoint: ``<A x, y> = <x, A^T y>``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Filter:
    """Multiplies the Fourier components of volumes ``[..., *shape]`` by a real transfer function.

    Args:
        transfer: Real and even in k, of the shape of ``rfftn``: a mask, a CTF, or their product. A filter is self-adjoint,
            and with a mask of zeros and ones idempotent.
        shape: Of a volume.
    """

    def __init__(self, transfer: Tensor, shape: Sequence[int]) -> None:
        self.transfer, self.shape = transfer, tuple(shape)

    def __call__(self, volumes: Tensor) -> Tensor:
        return inverse(transform(volumes, len(self.shape)) * self.transfer.to(volumes.dtype), self.shape)

    adjoint = __call__


def transform(volumes: Tensor, dims: int = 3) -> Tensor:
    """``rfftn`` over the last ``dims`` axes."""
    components: Tensor = torch.fft.rfftn(volumes, dim=tuple(range(-dims, 0)))
    return components


def inverse(components: Tensor, shape: Sequence[int]) -> Tensor:
    """``irfftn`` to volumes ``[..., *shape]``."""
    volumes: Tensor = torch.fft.irfftn(components, s=tuple(shape), dim=tuple(range(-len(shape), 0)))
    return volumes


def rotate(volumes: Tensor, rotations: Tensor) -> Tensor:
    """Each volume turned about its centre, trilinearly interpolated; 0 comes in from outside.

    The rotations of the cube, which map voxels onto voxels, are exact.

    Args:
        volumes: ``[B, C, D, H, W]`` or ``[B, C, H, W]``; or B = 1, for one volume turned in many ways.
        rotations: ``[B, d, d]``: see ``gpgan.wedge.rotations``.

    Returns:
        ``[B, C, ...]``; differentiable with respect to ``volumes``.
    """
    whole = rotations.round()
    exact = (rotations - whole).abs().amax((-1, -2)) < 1e-9
    if not exact.any() or len(set(volumes.shape[2:])) > 1:
        return interpolate(volumes, rotations)
    volumes = volumes.expand(len(rotations), *volumes.shape[1:])
    moved = torch.stack([_permuted(each, turn) for each, turn in zip(volumes[exact], whole[exact], strict=True)])
    if exact.all():
        return moved
    return interpolate(volumes, rotations).index_put((exact.nonzero().flatten().to(volumes.device),), moved)


def interpolate(volumes: Tensor, rotations: Tensor) -> Tensor:
    """As ``rotate``, always by interpolation: without a look at the rotations, so that it can be exported."""
    volumes = volumes.expand(rotations.shape[0], *volumes.shape[1:])
    sources = grid(rotations.to(volumes), volumes.shape[2:])
    return torch.nn.functional.grid_sample(volumes, sources, align_corners=True, padding_mode="zeros")


def rotate_adjoint(turned: Tensor, rotations: Tensor) -> Tensor:
    """The adjoint of ``rotate`` for each pair: ``[B, C, ...]`` from ``[B, C, ...]``. It is not the inverse."""
    zeros = torch.zeros_like(turned, requires_grad=True)
    with torch.enable_grad():
        forward = rotate(zeros, rotations)
    (found,) = torch.autograd.grad(forward, zeros, turned)
    return found


def grid(rotations: Tensor, shape: Sequence[int]) -> Tensor:
    """Where ``rotate`` samples: ``R^T p`` for every voxel, ``[B, ..., d]`` as ``grid_sample`` takes it."""
    half = [(size - 1) / 2 for size in shape]
    axes = [torch.arange(size).to(rotations) - middle for size, middle in zip(shape, half, strict=True)]
    # grid_sample's coordinates are in the order x, y, z: the last axis comes first.
    points = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)
    scale = torch.tensor([max(middle, 0.5) for middle in half[::-1]]).to(rotations)
    sources = points.reshape(-1, len(shape)) @ (rotations / scale)  # rows p^T R = (R^T p)^T
    return sources.reshape(rotations.shape[0], *shape, len(shape))


def _permuted(volume: Tensor, rotation: Tensor) -> Tensor:
    """A volume ``[C, ...]`` turned by a matrix of 0, 1 and -1, by moving whole voxels."""
    dims = len(rotation)
    # Row i of R: coordinate i of the result is coordinate j of the source, or its negative. Axes count the other way.
    source = rotation.abs().argmax(1).tolist()
    flipped = [dims - axis for axis in range(dims) if rotation[axis, source[axis]] < 0]
    moved = volume.permute(0, *(dims - source[dims - 1 - axis] for axis in range(dims)))
    return moved.flip(flipped) if flipped else moved
