"""Which Fourier components a tilt series measures."""

from __future__ import annotations

import math

import pytest
import torch

from gpgan.wedge.frequencies import band, frequencies, multiplicity, radius, shells
from gpgan.wedge.mask import Wedge
from gpgan.wedge.operators import Filter

SHAPES = [(8, 8, 8), (7, 8, 9), (6, 7, 5)]
RANGES = [Wedge(), Wedge(-40, 60), Wedge(-60, 60, "x"), Wedge(-30, 50, "z"), Wedge(-90, 20), Wedge(-90, 90)]


def share(region: torch.Tensor, of: torch.Tensor, shape: tuple[int, ...]) -> float:
    weight = multiplicity(shape)
    return float((weight * (region & of)).sum() / (weight * of).sum())


def test_the_share_of_a_cube_and_of_its_ball_that_60_degrees_measure():
    """Counted once by hand: .71007 of the components of 24^3, .665 of those up to Nyquist's."""
    shape = (24, 24, 24)
    measured = Wedge().mask(shape)
    assert share(measured, torch.ones_like(measured), shape) == pytest.approx(0.71007, abs=1e-5)
    assert share(measured, radius(shape) <= 0.5, shape) == pytest.approx(0.665, abs=1e-3)


def test_a_component_is_measured_if_its_angle_is_within_the_range():
    """Against the definition, one component at a time."""
    wedge, shape = Wedge(-30, 50), (9, 9, 9)
    measured = wedge.mask(shape)
    along = [each.flatten().tolist() for each in frequencies(shape)]
    for i, z in enumerate(along[0]):
        for j, x in enumerate(along[2]):
            angle = math.degrees(math.atan2(z, x))
            angle = (angle + 90) % 180 - 90  # a direction and its opposite are one
            assert bool(measured[i, 0, j]) == ((z == x == 0) or -30 <= angle <= 50)
            assert measured[i, :, j].unique().numel() == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("wedge", RANGES)
def test_filtering_with_a_mask_is_a_projection(wedge: Wedge, shape: tuple[int, ...]):
    filtered = Filter(wedge.mask(shape), shape)
    x, y = torch.randn(2, *shape, dtype=torch.float64)
    once = filtered(x)
    torch.testing.assert_close(filtered(once), once)
    assert float((once * y).sum()) == pytest.approx(float((x * filtered(y)).sum()))
    # The mask is Hermitian: what is filtered has no component that was filtered out.
    assert float((torch.fft.rfftn(once) * ~wedge.mask(shape)).abs().max()) < 1e-12


def test_an_axis_is_a_permutation():
    cube = (8, 8, 8)
    about_y, about_x, about_z = (
        torch.fft.fftn(Filter(Wedge(-50, 50, axis).mask(cube), cube)(torch.eye(8).expand(8, 8, 8).clone())).abs()
        for axis in "yxz"
    )
    assert about_y.shape == about_x.shape == about_z.shape
    full = {axis: full_mask(Wedge(-50, 50, axis), cube) for axis in "yxz"}
    assert torch.equal(full["x"], full["y"].transpose(1, 2))
    assert torch.equal(full["z"], full["y"].transpose(0, 1))


def full_mask(wedge: Wedge, shape: tuple[int, ...]) -> torch.Tensor:
    """The mask over ``fftn``: the transfer of a point at the origin."""
    point = torch.zeros(shape, dtype=torch.float64)
    point.view(-1)[0] = 1
    return torch.fft.fftn(Filter(wedge.mask(shape), shape)(point)).real.round().bool()


def test_the_sign_of_a_tilt_matters_and_is_mirrored_on_request():
    wedge = Wedge(-40, 60)
    assert wedge.mirrored() == Wedge(-60, 40)
    assert torch.equal(full_mask(wedge.mirrored(), (9, 9, 9)), full_mask(wedge, (9, 9, 9)).flip(0).roll(1, 0))
    assert not torch.equal(wedge.mask((9, 9, 9)), wedge.mirrored().mask((9, 9, 9)))


def test_a_tilted_plane_is_measured_and_the_next_one_is_not():
    """The section theorem: the projection of a point along the beam at tilt t has its transform on the plane of t."""
    for tilt in (-35.0, 0.0, 42.0):
        direction = torch.tensor([math.cos(math.radians(tilt)), 0.1, math.sin(math.radians(tilt))], dtype=torch.float64)
        assert bool(Wedge(tilt - 1, tilt + 1).contains(direction))
        assert not bool(Wedge(tilt + 1, tilt + 3).contains(direction))


@pytest.mark.parametrize(
    ("low", "high", "axis", "expected"),
    [
        (60, -60, "y", "tilt is 60 to -60; expected the smaller angle first: -60 60"),
        (10, 10, "y", "tilt is 10 to 10; expected the smaller angle first"),
        (-60, 95, "y", "tilt is -60 to 95; expected angles from -90 to 90 degrees"),
        (-60, math.nan, "y", "tilt is -60 to nan; expected two angles in degrees"),
        (-60, 60, "w", "axis is 'w'; expected y or x or z, the axis of the tilt"),
    ],
)
def test_bad_ranges_are_refused(low: float, high: float, axis: str, expected: str):
    with pytest.raises(ValueError, match="^" + expected):
        Wedge(low, high, axis)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_over_half_of_the_components_are_sums_over_all(shape: tuple[int, ...]):
    x = torch.randn(shape, dtype=torch.float64)
    half = (multiplicity(shape) * torch.fft.rfftn(x).abs().square()).sum()
    torch.testing.assert_close(half, torch.fft.fftn(x).abs().square().sum())


def test_shells_and_bands_are_in_units_of_the_shortest_side_and_of_angstroms():
    shape = (8, 8, 16)
    assert shells(shape)[1, 0, 0] == 1  # one period in 8 voxels
    assert shells(shape)[0, 0, 2] == 1  # two periods in 16
    inside = band((24, 24, 24), 15.0, 120.0, 40.0)
    wavelengths = 15.0 / radius((24, 24, 24))[inside]
    assert 40 <= wavelengths.min() < 42
    assert 110 < wavelengths.max() <= 120


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_frequency_and_its_opposite_are_measured_alike(axis: str):
    """They are conjugates; an unequal range is where a sign could be lost."""
    k = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measured = Wedge(-40, 60, axis).contains(k)  # type: ignore[arg-type]
    assert torch.equal(measured, Wedge(-40, 60, axis).contains(-k))  # type: ignore[arg-type]
    assert float(measured.double().mean()) == pytest.approx(100 / 180, abs=0.05)
