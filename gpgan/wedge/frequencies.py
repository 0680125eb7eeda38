"""Integer frequencies of ``torch.fft.rfftn``, as grids that broadcast, and regions of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def frequencies(shape: Sequence[int], device: torch.device | str = "cpu") -> list[Tensor]:
    """The integer frequencies along each axis of ``rfftn`` of a volume of this shape, shaped to broadcast.

    Args:
        shape: Of the volume: (D, H, W) or (H, W).
        device: Of the result.

    Returns:
        float64: ``[D, 1, 1]``, ``[1, H, 1]`` and ``[1, 1, W // 2 + 1]``, or the same with two axes.
    """
    dims, found = len(shape), []
    for axis, size in enumerate(shape):
        one_sided = axis == dims - 1
        along = torch.fft.rfftfreq(size, 1 / size, dtype=torch.float64, device=device) if one_sided else None
        along = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64, device=device) if along is None else along
        found.append(along.reshape([-1 if each == axis else 1 for each in range(dims)]))
    return found


def radius(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """|k| in cycles per voxel, float64, of the shape of ``rfftn``: 0.5 is Nyquist's along an axis."""
    squares = [(each / size).square() for each, size in zip(frequencies(shape, device), shape, strict=True)]
    total = squares[0]
    for each in squares[1:]:
        total = total + each
    return total.sqrt()


def vectors(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """k in cycles per voxel, float64 ``[..., d]`` with the shape of ``rfftn``: (x, y, z), or (x, z) in the plane."""
    lengths = (*shape[:-1], shape[-1] // 2 + 1)
    scaled = [(each / size).expand(lengths) for each, size in zip(frequencies(shape, device), shape, strict=True)]
    return torch.stack(scaled[::-1], -1)


def band(shape: Sequence[int], voxel: float, longest: float, shortest: float) -> Tensor:
    """The frequencies whose wavelength is within a range, bool, of the shape of ``rfftn``.

    Args:
        shape: Of the volume.
        voxel: Its voxel size in angstroms.
        longest: The longest wavelength in angstroms.
        shortest: The shortest, at least two voxels: Nyquist's.
    """
    k = radius(shape) / voxel
    return (k >= 1 / longest) & (k <= min(1 / shortest, 0.5 / voxel))


def multiplicity(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """How many components of ``fftn`` each of ``rfftn`` stands for: 2, or 1 where it is its own conjugate along the last
    axis. Float64, of the shape of ``rfftn``; a sum over ``rfftn`` with these weights is one over ``fftn``."""
    along = frequencies(shape, device)[-1]
    own = (along == 0) | ((along == shape[-1] // 2) & (shape[-1] % 2 == 0))
    lengths = (*shape[:-1], shape[-1] // 2 + 1)
    return torch.where(own, 1.0, 2.0).to(torch.float64).expand(lengths)


def shells(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """The shell of each component, int64, of the shape of ``rfftn``: |k| in units of 1 / shortest side, rounded."""
    return (radius(shape, device) * min(shape)).round().long()
