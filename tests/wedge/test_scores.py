"""Scores of restored volumes."""

from __future__ import annotations

import pytest
import torch

from gpgan.wedge.frequencies import band, radius
from gpgan.wedge.mask import Wedge
from gpgan.wedge.operators import Filter
from gpgan.wedge.scores import correlation, fourier_shell_correlation, resolution, wedge_correlation

SHAPE = (16, 16, 16)


def volumes(count: int) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_only_what_was_not_measured_counts():
    truth, wedge = volumes(3), Wedge()
    kept = Filter(wedge.mask(SHAPE), SHAPE)
    assert wedge_correlation(kept(truth), truth, wedge).tolist() == [0, 0, 0]
    ones = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(wedge_correlation(truth - kept(truth), truth, wedge), ones)
    torch.testing.assert_close(wedge_correlation(3 * truth + 7 * kept(truth), truth, wedge), ones)
    torch.testing.assert_close(wedge_correlation(-truth, truth, wedge), -ones)


def test_the_headline_looks_at_its_band_alone():
    truth, wedge, voxel = volumes(2), Wedge(), 15.0
    inside = band(SHAPE, voxel, 120, 40)
    other = Filter(~inside, SHAPE)(torch.randn(2, *SHAPE, dtype=torch.float64))
    assert wedge_correlation(truth + 9 * other, truth, wedge, voxel).min() > 0.999
    assert wedge_correlation(truth + 9 * other, truth, wedge).max() < 0.9


def test_a_correlation_is_that_of_all_components():
    """Over everything it is the normalised inner product of the voxels (Parseval)."""
    a, b = volumes(2)
    found = correlation(a[None], b[None], torch.ones(16, 16, 9, dtype=torch.bool))
    torch.testing.assert_close(found[0], (a * b).sum() / (a.norm() * b.norm()))


def test_a_shell_correlation_finds_the_shell_where_two_volumes_part():
    truth, noise = volumes(2)
    low = (radius(SHAPE) * 16).round() <= 4
    mixed = Filter(low, SHAPE)(truth) + Filter(~low, SHAPE)(noise)
    curve = fourier_shell_correlation(mixed[None], truth[None])
    torch.testing.assert_close(curve[:5], torch.ones(5, dtype=torch.float64))
    assert curve[5:].abs().max() < 0.4
    assert resolution(curve, 0.5, 16, 10.0) == pytest.approx(160 / 4.5, rel=0.1)
    assert fourier_shell_correlation(truth[None], truth[None], radius(SHAPE) > 0.3)[2].isnan()


@pytest.mark.parametrize(
    ("curve", "expected"),
    [([1.0, 0.9, 0.8], 20.0), ([0.1, 0.0, 0.0], None), ([1.0, 1.0, 0.0], 160 / 1.5)],
)
def test_a_resolution_is_where_the_curve_falls_below(curve: list[float], expected: float):
    assert resolution(torch.tensor(curve), 0.5, 16, 10.0) == pytest.approx(expected)
