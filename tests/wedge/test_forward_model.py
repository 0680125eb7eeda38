"""Filters and rotations of volumes, and their adjoints."""

from __future__ import annotations

import pytest
import torch

from gpgan.wedge.ctf import CTF, wavelength
from gpgan.wedge.frequencies import radius
from gpgan.wedge.mask import Wedge
from gpgan.wedge.observe import Observation, halves, noise_spectrum, shell_mean
from gpgan.wedge.operators import Filter, grid, rotate, rotate_adjoint
from gpgan.wedge.rotations import cube_rotations, in_plane, random_rotations
from gpgan.wedge.scores import fourier_shell_correlation

BOXES = [(6, 6, 6), (5, 7, 6), (6, 6), (5, 8)]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", BOXES)
def test_a_rotation_has_its_adjoint(shape: tuple[int, ...]):
    turns = random_rotations(5, len(shape), rng())
    x, y = torch.randn(2, 5, 2, *shape, dtype=torch.float64)
    forward, back = (rotate(x, turns) * y).sum(), (x * rotate_adjoint(y, turns)).sum()
    torch.testing.assert_close(forward, back)


def test_rotations_of_the_cube_move_voxels_exactly():
    """As interpolation does, up to its rounding; and four quarter turns are none."""
    x = torch.randn(1, 2, 6, 6, 6, dtype=torch.float64)
    exact = rotate(x, cube_rotations())
    interpolated = torch.nn.functional.grid_sample(
        x.expand(24, -1, -1, -1, -1), grid(cube_rotations(), (6, 6, 6)), align_corners=True
    )
    torch.testing.assert_close(exact, interpolated)
    assert all(torch.equal(each.flatten().sort().values, x.flatten().sort().values) for each in exact)
    turned = x
    for _ in range(4):
        turned = rotate(turned, cube_rotations()[1:2])
    mixed = torch.cat([cube_rotations()[3:4], random_rotations(1, 3, rng())])
    assert torch.equal(rotate(x, mixed)[0], exact[3])
    assert torch.equal(
        rotate(x, cube_rotations()[:1]), rotate(rotate(x, cube_rotations()[:1]), torch.eye(3)[None].double())
    )


def test_a_quarter_turn_takes_x_to_z():
    """(R x)(p) = x(R^T p): what is at x = +1 is found at z = +1 after a turn that maps the x axis onto the z axis."""
    quarter = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64)  # of (x, z)
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 1, 2] = 1.0  # z = 0, x = +1
    assert rotate(image, quarter)[0, 0].nonzero().tolist() == [[2, 1]]  # z = +1, x = 0


def test_a_rotation_turns_the_spectrum_alike():
    """F(R x)(k) = F x(R^T k): the measured components of a turned volume are those of the turned wedge."""
    side, turn = 33, in_plane(torch.tensor(0.5, dtype=torch.float64))
    places = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    z, x = torch.meshgrid(places, places, indexing="ij")
    image = torch.exp(-(x**2 / 60 + z**2 / 15)) * torch.cos(0.6 * x)
    turned = rotate(image[None, None], turn[None])[0, 0]
    expected = torch.exp(-((x * turn[0, 0] + z * turn[1, 0]) ** 2 / 60 + (x * turn[0, 1] + z * turn[1, 1]) ** 2 / 15))
    expected = expected * torch.cos(0.6 * (x * turn[0, 0] + z * turn[1, 0]))
    assert float((turned - expected).norm() / expected.norm()) < 0.05


def test_one_trilinear_rotation_keeps_most_of_the_spectrum():
    """Of a volume of blobs at 24^3, against the same blobs turned exactly: FSC of .98 up to shell 9 of 12."""
    side = 24
    places = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    z, y, x = torch.meshgrid(places, places, places, indexing="ij")
    centres = torch.nn.functional.normalize(torch.randn(40, 3, generator=rng(), dtype=torch.float64)) * 6
    turn = random_rotations(1, 3, rng(2))

    def blobs(at: torch.Tensor) -> torch.Tensor:
        return sum(torch.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 1.8) for a, b, c in at.tolist())

    turned = rotate(blobs(centres)[None, None], turn)[0]
    curve = fourier_shell_correlation(turned, blobs(centres @ turn[0].T)[None])
    assert curve[:10].min() > 0.98


def test_a_ctf_begins_with_its_amplitude_contrast_and_changes_sign_where_the_phase_says():
    ctf, shape = CTF(3.0, 300, 2.7, 0.1), (48, 48, 48)
    transfer = ctf.transfer(shape, 5.0)
    assert float(transfer[0, 0, 0]) == pytest.approx(0.1)
    assert wavelength(300) == pytest.approx(0.0197, abs=1e-4)
    # Without aberration the first zero is where pi lambda defocus k^2 = pi - atan(a / sqrt(1 - a^2)).
    plain = CTF(3.0, 300, 0.0, 0.0).transfer(shape, 5.0)
    k = radius(shape) / 5.0
    first = (1 / (wavelength(300) * 3e4)) ** 0.5
    assert bool((plain[(k < 0.99 * first) & (k > 0)] > 0).all())
    assert bool((plain[(k > 1.01 * first) & (k < 1.3 * first)] < 0).all())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((3.0, 0.0), "voltage is 0; expected 1 to 10000"),
        ((3.0, 300, -1), "cs is -1"),
        ((3.0, 300, 2.7, 2), "amplitude is 2"),
    ],
)
def test_bad_microscopes_are_refused(values: tuple[float, ...], expected: str):
    with pytest.raises(ValueError, match=expected):
        CTF(*values)


def test_halves_have_the_noise_of_their_mean_and_it_is_estimated_from_them():
    shape, deviation = (16, 16, 16), 0.7
    wedge = Wedge(-50, 50)
    observation = Observation(wedge).filter(shape)
    clean = torch.randn(200, *shape, generator=rng())
    even, odd = halves(clean, observation, deviation, rng(1))
    measured = wedge.mask(shape)
    left = (even + odd) / 2 - observation(clean)
    power = torch.fft.rfftn(left.double(), dim=(1, 2, 3)).abs().square().mean(0)
    expected = deviation**2 * 16**3
    assert float(power[measured].mean()) == pytest.approx(expected, rel=0.02)
    assert float(power[~measured].max()) < 1e-6 * expected
    estimated = noise_spectrum(even, odd, measured)
    assert float((estimated[measured] / expected - 1).abs().max()) < 0.1


def test_means_over_shells_count_measured_components_only():
    shape = (8, 8, 8)
    measured = Wedge().mask(shape)
    power = torch.where(measured, radius(shape).square(), 1e9)
    means = shell_mean(power, measured, shape)
    assert means.max() < 1


def test_a_filter_is_self_adjoint_with_a_ctf_too():
    shape = (8, 8, 8)
    filtered = Observation(Wedge(-40, 60), CTF(2.0), 4.0).filter(shape)
    assert isinstance(filtered, Filter)
    x, y = torch.randn(2, *shape, dtype=torch.float64)
    torch.testing.assert_close((filtered(x) * y).sum(), (x * filtered.adjoint(y)).sum())
