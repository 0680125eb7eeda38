"""Mode coverage: cases counted by hand, and real data against published numbers."""

import math

import pytest
import torch
from scipy.stats import chi2

from gpgan.data import load
from gpgan.data.dataset import Mixture
from gpgan.metrics import ModeCoverage, mode_coverage

TRIANGLE = Mixture(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), deviation=0.5)


def test_counted_by_hand():
    samples = torch.tensor([[0.1, 0.1], [0.0, 0.2], [-1.0, 0.0], [9.0, 0.5], [5.0, 5.0], [0.0, 7.0]])
    # Four are within 1.5 of a mode, three of them of the first; the last two are between modes.
    kl = math.log(3) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert mode_coverage(samples, TRIANGLE) == ModeCoverage(2, 3, 4 / 6, pytest.approx(kl, abs=1e-12))


@pytest.mark.parametrize(("away", "good"), [(1.5, 1.0), (1.5001, 0.0)])
def test_within_three_deviations(away, good):
    assert mode_coverage(torch.tensor([[10 + away, 0.0]]), TRIANGLE).high_quality == good


def test_all_modes_alike():
    assert mode_coverage(TRIANGLE.centres.repeat(4, 1), TRIANGLE) == ModeCoverage(
        3, 3, 1.0, pytest.approx(0, abs=1e-12)
    )


def test_one_mode_alone():
    assert mode_coverage(torch.zeros(5, 2), TRIANGLE) == ModeCoverage(1, 3, 1.0, pytest.approx(math.log(3)))


def test_no_sample_at_any_mode():
    result = mode_coverage(torch.full((4, 2), 50.0), TRIANGLE)
    assert (result.captured, result.high_quality) == (0, 0.0)
    assert math.isnan(result.reverse_kl)


def test_more_dimensions_and_few_digits():
    # In float32 by a matrix product, the error would exceed the deviation here.
    mixture = Mixture(1000.3 + 4 * torch.eye(5), deviation=1e-3)
    samples = mixture.centres[[0, 1, 1, 4]] + torch.tensor([0.0, 0.0, 0.0, 0.0, 2e-3])
    assert mode_coverage(samples, mixture) == ModeCoverage(3, 5, 1.0, pytest.approx(math.log(5) - 1.5 * math.log(2)))


def test_order_does_not_matter():
    samples = 4 * torch.randn(200, 2)
    assert mode_coverage(samples[torch.randperm(200)], TRIANGLE) == mode_coverage(samples, TRIANGLE)


@pytest.mark.parametrize(("name", "modes", "share", "kl"), [("ring", 8, 0.989, 0.001), ("grid", 25, 0.988, 0.005)])
def test_real_data_as_in_print(name, modes, share, kl):
    """The row of real data in PacGAN's tables, n = 2500, and its expected value in theory."""
    data = load(name)
    assert data.modes is not None
    draws = [mode_coverage(part, data.modes) for part in data.samples(slice(0, 50_000)).split(2500)]
    assert {(draw.captured, draw.modes) for draw in draws} == {(modes, modes)}
    high_quality = sum(draw.high_quality for draw in draws) / len(draws)
    assert high_quality == pytest.approx(share, abs=0.002)
    assert high_quality == pytest.approx(chi2.cdf(9, df=2), abs=0.002)
    # 2 n KL is about chi-squared with modes - 1 degrees of freedom.
    reverse_kl = sum(draw.reverse_kl for draw in draws) / len(draws)
    assert reverse_kl == pytest.approx(kl, abs=0.001)
    assert reverse_kl == pytest.approx((modes - 1) / (2 * 2500), rel=0.3)


@pytest.mark.parametrize("shape", [(0, 2), (4,), (4, 3), (4, 1, 2)], ids=str)
def test_samples_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"samples has shape \(.*\); expected \[N, 2\] with N at least 1"):
        mode_coverage(torch.zeros(shape), TRIANGLE)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_samples_that_are_not_finite(value):
    with pytest.raises(ValueError, match="samples hold NaN or infinite values"):
        mode_coverage(torch.tensor([[0.0, value]]), TRIANGLE)
