"""Rotations, and RELION's angles."""

from __future__ import annotations

import math

import pytest
import torch

from gpgan.wedge.rotations import (
    angle_between,
    concentration,
    cube_rotations,
    from_euler,
    in_plane,
    near,
    random_rotations,
    to_euler,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dims", [2, 3])
def test_random_rotations_are_uniform(dims: int):
    """A uniform rotation maps a vector to a uniform direction: mean 0, second moments 1 / d; and det 1."""
    found = random_rotations(20_000, dims, rng())
    torch.testing.assert_close(found @ found.transpose(1, 2), torch.eye(dims, dtype=torch.float64).expand_as(found))
    assert torch.linalg.det(found).min() > 0
    for column in found.unbind(2):
        assert column.mean(0).abs().max() < 0.02
        assert (column.T @ column / len(column) - torch.eye(dims) / dims).abs().max() < 0.02


def test_the_cube_has_24_rotations():
    found = cube_rotations()
    assert len({tuple(each.flatten().tolist()) for each in found}) == 24
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(24, dtype=torch.float64))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_turn_nearby_has_the_spread(dims: int):
    begin = random_rotations(5000, dims, rng())
    angles = angle_between(begin, near(begin, 0.05, rng(1)))
    assert float(angles.square().mean().sqrt()) == pytest.approx(0.05 * (1 if dims == 2 else 3**0.5), rel=0.03)


def test_angles_are_those_between():
    angles = torch.tensor([0.0, 0.3, 2.0, math.pi], dtype=torch.float64)
    torch.testing.assert_close(angle_between(in_plane(torch.zeros(4, dtype=torch.float64)), in_plane(angles)), angles)


def test_euler_angles_come_back_also_where_they_are_not_unique():
    for rotations in (random_rotations(500, 3, rng()), cube_rotations()):
        torch.testing.assert_close(from_euler(to_euler(rotations)), rotations)


def test_euler_angles_are_relions():
    """RELION's matrix for rot 30, tilt 50, psi 70, computed from the formula in the paper."""
    a, b, g = (math.radians(each) for each in (30, 50, 70))
    expected = torch.tensor(
        [
            [
                math.cos(g) * math.cos(b) * math.cos(a) - math.sin(g) * math.sin(a),
                math.cos(g) * math.cos(b) * math.sin(a) + math.sin(g) * math.cos(a),
                -math.cos(g) * math.sin(b),
            ],
            [
                -math.sin(g) * math.cos(b) * math.cos(a) - math.cos(g) * math.sin(a),
                -math.sin(g) * math.cos(b) * math.sin(a) + math.cos(g) * math.cos(a),
                math.sin(g) * math.sin(b),
            ],
            [math.sin(b) * math.cos(a), math.sin(b) * math.sin(a), math.cos(b)],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(from_euler(torch.tensor([30.0, 50.0, 70.0], dtype=torch.float64)), expected)


def test_a_concentration_is_0_for_uniform_poses_and_1_for_one():
    uniform = random_rotations(4000, 3, rng())
    assert float(concentration(uniform)) < 0.03
    assert float(concentration(uniform[:1].expand(5, 3, 3))) == pytest.approx(1)
    assert 0.8 < float(concentration(near(uniform[:1].expand(500, 3, 3), 0.2, rng()))) < 1
