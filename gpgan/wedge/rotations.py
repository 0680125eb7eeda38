"""Rotations: drawn, enumerated, compared, and as RELION's Euler angles.

A rotation is a matrix R, float64 ``[..., 3, 3]``, of coordinates (x, y, z); in the plane ``[..., 2, 2]`` of (x, z). It turns
a volume by ``(R x)(p) = x(R^T p)``, with p counted from the volume's centre.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


def random_rotations(count: int, dims: int, rng: torch.Generator) -> Tensor:
    """Uniform rotations, float64 ``[count, dims, dims]``, on the CPU; ``dims`` is 2 or 3.

    In space from uniform unit quaternions: Shoemake, Graphics Gems III (1992), page 124.
    """
    if dims == 2:
        return in_plane(2 * math.pi * torch.rand(count, generator=rng, dtype=torch.float64))
    q = torch.randn(count, 4, generator=rng, dtype=torch.float64)
    return from_quaternions(q / q.norm(dim=1, keepdim=True))


def in_plane(angles: Tensor) -> Tensor:
    """Rotations of the plane by angles in radians: ``[..., 2, 2]``."""
    c, s = angles.cos(), angles.sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)


def from_quaternions(q: Tensor) -> Tensor:
    """Rotations ``[..., 3, 3]`` of unit quaternions ``[..., 4]``, scalar first."""
    w, x, y, z = q.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def near(rotations: Tensor, spread: float, rng: torch.Generator) -> Tensor:
    """Each rotation turned a little further: ``[..., d, d]``, about a random axis.

    Args:
        rotations: ``[..., d, d]``, d = 2 or 3.
        spread: The standard deviation in radians: of the angle in the plane, and along each axis in space.
        rng: On the CPU.
    """
    dims, lead = rotations.shape[-1], rotations.shape[:-2]
    if dims == 2:
        small = in_plane(spread * torch.randn(lead, generator=rng, dtype=torch.float64))
    else:
        turn = spread * torch.randn(*lead, 3, generator=rng, dtype=torch.float64)
        angle = turn.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        small = from_quaternions(torch.cat([(angle / 2).cos(), turn / angle * (angle / 2).sin()], -1))
    return small @ rotations


def cube_rotations() -> Tensor:
    """The 24 rotations that map a cube onto itself, float64 ``[24, 3, 3]``."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3, dtype=torch.float64)
            matrix[range(3), order] = torch.tensor(signs, dtype=torch.float64)
            if torch.linalg.det(matrix) > 0:
                found.append(matrix)
    return torch.stack(found)


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """The angle of the rotation from ``a`` to ``b`` in radians, 0 to pi: ``[...]`` from ``[..., d, d]`` each."""
    trace: Tensor = (a.transpose(-1, -2) @ b).diagonal(dim1=-2, dim2=-1).sum(-1)
    cosine = trace / 2 if a.shape[-1] == 2 else (trace - 1) / 2
    return cosine.clamp(-1, 1).acos()


def concentration(rotations: Tensor) -> Tensor:
    """How far rotations ``[N, 3, 3]`` are from uniform: 0, up to chance of order N^-1/2, to 1 if all are equal.

    The largest eigenvalue of the mean of q q^T over unit quaternions q, 1 / 4 for uniform ones, scaled: Bingham's test.
    """
    trace = rotations.diagonal(dim1=1, dim2=2)  # [N, 3]
    # 4 q q^T from the matrix, without a choice of sign.
    r = rotations
    x, y, z = trace.unbind(1)
    rows = (
        (1 + x + y + z, r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]),
        (r[:, 2, 1] - r[:, 1, 2], 1 + x - y - z, r[:, 0, 1] + r[:, 1, 0], r[:, 0, 2] + r[:, 2, 0]),
        (r[:, 0, 2] - r[:, 2, 0], r[:, 0, 1] + r[:, 1, 0], 1 - x + y - z, r[:, 1, 2] + r[:, 2, 1]),
        (r[:, 1, 0] - r[:, 0, 1], r[:, 0, 2] + r[:, 2, 0], r[:, 1, 2] + r[:, 2, 1], 1 - x - y + z),
    )
    outer = torch.stack([torch.stack(row, -1) for row in rows], -2) / 4
    largest: Tensor = torch.linalg.eigvalsh(outer.mean(0))[-1]
    return (largest - 1 / 4) / (3 / 4)


def to_euler(rotations: Tensor) -> Tensor:
    """RELION's angles rot, tilt and psi in degrees, ``[..., 3]``, of rotations ``[..., 3, 3]``.

    The coordinate frame turns by rot about Z, by tilt about the new Y, by psi about the new Z (Heymann et al., doi
    10.1016/j.jsb.2005.06.001). A particle with these angles is the reference turned by R: RELION samples the reference
    at ``R^T p`` as well. rot is 0 where only its sum with psi counts.
    """
    r = rotations
    tilt = torch.atan2((r[..., 2, 0].square() + r[..., 2, 1].square()).sqrt(), r[..., 2, 2])
    upright = tilt.sin().abs() < 1e-8
    rot = torch.where(upright, torch.zeros_like(tilt), torch.atan2(r[..., 2, 1], r[..., 2, 0]))
    sign = r[..., 2, 2].sign()
    only = torch.atan2(-sign * r[..., 1, 0], sign * r[..., 0, 0])
    psi = torch.where(upright, only, torch.atan2(r[..., 1, 2], -r[..., 0, 2]))
    return torch.stack([rot, tilt, psi], -1).rad2deg()


def from_euler(angles: Tensor) -> Tensor:
    """The inverse of ``to_euler``: rotations ``[..., 3, 3]`` from degrees ``[..., 3]``."""
    rot, tilt, psi = angles.deg2rad().unbind(-1)
    return _about_z(psi) @ _about_y(tilt) @ _about_z(rot)


def _about_z(angle: Tensor) -> Tensor:
    """The frame turned about Z: ``[..., 3, 3]``."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = ((c, s, zero), (-s, c, zero), (zero, zero, one))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _about_y(angle: Tensor) -> Tensor:
    """The frame turned about Y: ``[..., 3, 3]``."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = ((c, zero, -s), (zero, one, zero), (s, zero, c))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
