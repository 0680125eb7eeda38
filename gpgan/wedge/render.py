"""Volumes of structures at a voxel size and in a pose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gpgan.wedge.atoms import Points


def render(points: Points, rotation: Tensor, shape: Sequence[int], voxel: float, shift: Sequence[float] = ()) -> Tensor:
    """The density of a structure turned about the volume's centre, float32 ``[*shape]``.

    Each point's weight is shared among the voxels around it (trilinear), so that no volume is interpolated.

    Args:
        points: The structure, in d = 2 or 3 dimensions.
        rotation: ``[d, d]``: see ``gpgan.wedge.rotations``.
        shape: (D, H, W), or (H, W).
        voxel: The voxel size in angstroms.
        shift: The centre's offset (x, y, z) in angstroms from that of the volume; () for none.

    Raises:
        ValueError: The points are too sparse for such small voxels.
    """
    if voxel < points.spacing:
        raise ValueError(
            f"voxel is {voxel:g} angstroms and the structure is known at {points.spacing:g}; expected {points.spacing:g} or more, or "
            "a structure of atoms"
        )
    turned = points.positions @ rotation.float().T
    if len(shift):
        turned = turned + torch.tensor(shift, dtype=torch.float32)
    middle = torch.tensor([(size - 1) / 2 for size in shape])
    at = (turned.flip(1) / voxel + middle).numpy()  # (z, y, x) in voxels
    low = np.floor(at).astype(np.int64)
    part, weights = at - low, points.weights.numpy()
    total = np.zeros(int(np.prod(shape)))
    for corner in np.ndindex(*(2,) * len(shape)):
        index = low + corner
        inside = ((index >= 0) & (index < shape)).all(1)
        share = np.where(corner, part, 1 - part).prod(1) * weights
        flat = np.ravel_multi_index(index[inside].T, tuple(shape))
        total += np.bincount(flat, share[inside], minlength=total.size)
    return torch.from_numpy(total.reshape(tuple(shape)).astype(np.float32))
