"""FD: closed forms, another algorithm, and the complaints about other implementations."""

import math

import pytest
import scipy.linalg
import torch
from feature_sets import evaluation, normals, samples

from gpgan.metrics.scores.fd import METRIC, frechet_distance
from gpgan.metrics.scores.moments import moments, moments_of_first, root


def rotation(d, seed=3):
    return torch.linalg.qr(normals(d, d, seed).double()).Q


def whitened(n, d, seed=0):
    """Features whose mean is exactly 0 and whose covariance is exactly 1."""
    x = normals(n, d, seed).double()
    mean, covariance = moments(x)
    return (x - mean) @ torch.linalg.inv(torch.linalg.cholesky(covariance)).T


def by_sqrtm(x, y):
    (a, c), (b, e) = moments(x), moments(y)
    middle = scipy.linalg.sqrtm((c @ e).numpy())
    return float((a - b).square().sum() + c.trace() + e.trace()) - 2 * middle.trace().real


def test_moments_are_those_of_the_definition():
    x = normals(5000, 4, mean=2)
    mean, covariance = moments(x)
    assert torch.allclose(mean, x.double().mean(0), rtol=1e-12)
    assert torch.allclose(covariance, torch.cov(x.double().T), rtol=1e-10)
    first, second = moments_of_first(x, [40, 4500])
    assert torch.allclose(first[1], torch.cov(x[:40].double().T), rtol=1e-10)
    assert torch.allclose(second[1], torch.cov(x[:4500].double().T), rtol=1e-10)
    assert torch.allclose(root(covariance) @ root(covariance).T, covariance, rtol=1e-10)


def test_gaussians_of_which_the_distance_is_known():
    x = whitened(50, 4)
    deviations = torch.tensor([1.0, 2.0, 3.0, 0.5]).double()
    shift = torch.tensor([3.0, 0.0, 4.0, 0.0]).double()
    # |m|^2 + sum (1 - s)^2
    assert frechet_distance(x, x * deviations + shift) == pytest.approx(25 + 1 + 4 + 0.25, rel=1e-12)
    assert frechet_distance(x, x @ rotation(4)) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-12)


def test_rotated_covariances():
    """Equal eigenvalues along other axes: 2 tr A - 2 tr (A^1/2 B A^1/2)^1/2; by hand in the plane, for 4 and 1 by 90 degrees."""
    x = whitened(50, 2) * torch.tensor([2.0, 1.0]).double()
    assert frechet_distance(x, x.flip(1)) == pytest.approx(5 + 5 - 2 * (2 + 2), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(400, 300), (400, 20), (15, 25)])
def test_another_algorithm(n, m):
    """Fewer samples than features take another way."""
    x, y = normals(n, 30) * torch.linspace(0.5, 2, 30), normals(m, 30, seed=1, mean=0.3) @ rotation(30).float()
    # sqrtm of a singular product has half the digits.
    assert frechet_distance(x, y) == pytest.approx(by_sqrtm(x, y), rel=1e-10 if min(n, m) > 30 else 1e-6)


def test_it_equals_the_sum_of_singular_values():
    x, y = normals(300, 64), normals(300, 64, seed=1) * torch.logspace(-3, 1, 64)
    (a, c), (b, e) = moments(x), moments(y)
    total = (a - b).square().sum() + c.trace() + e.trace()
    expected = total - 2 * torch.linalg.svdvals(root(c).T @ root(e)).sum()
    assert frechet_distance(x, y) == pytest.approx(float(expected), rel=1e-10)


def test_few_samples_give_a_finite_real_number():
    """Complaint: imaginary or NaN matrix roots."""
    value = frechet_distance(normals(100, 512), normals(120, 512, seed=1))
    assert 500 < value < 1100
    assert frechet_distance(torch.ones(5, 3), torch.ones(5, 3)) == 0
    assert frechet_distance(torch.ones(5, 3), torch.zeros(5, 3)) == pytest.approx(3)


def test_features_that_depend_on_each_other():
    """More samples than features, but a singular covariance, of which rounding makes eigenvalues negative."""
    x, y = normals(400, 10).repeat(1, 3), normals(400, 10, seed=1, mean=0.1).repeat(1, 3)
    half = frechet_distance(x[:, :10], y[:, :10])
    assert frechet_distance(x, y) == pytest.approx(3 * half, rel=1e-6)


def test_features_far_from_zero():
    """Complaint: moments in low precision."""
    x, y = normals(400, 20), normals(400, 20, seed=1)
    x, y = (x * 1024).round() / 1024, (y * 1024).round() / 1024
    far = frechet_distance(x + 1e4, y + 1e4)
    assert far == pytest.approx(frechet_distance(x + 1e4 - 1e4, y + 1e4 - 1e4), rel=1e-9)


def test_it_has_bias():
    """Complaint: real samples against real ones score more with fewer samples."""
    few, many = (frechet_distance(normals(n, 50), normals(n, 50, seed=1)) for n in (200, 2000))
    assert few > 5 * many > 0


def test_few_samples_are_refused_or_noted():
    refused = METRIC.refuses(evaluation(normals(10, 10), normals(12, 10)))
    assert (
        refused == "n is 10 and there are 10 features; expected more samples than features: use kd, which has no bias"
    )
    assert METRIC.refuses(evaluation(normals(11, 10), normals(12, 10))) == ""
    assert "n is 49, less than 5 times the 10 features" in METRIC.warn(evaluation(normals(60, 10), normals(49, 10)))
    assert METRIC.warn(evaluation(normals(50, 10), normals(50, 10))) == ""


def test_the_metric():
    made = evaluation(normals(40, 3), normals(30, 3, seed=1, mean=1))
    expected = frechet_distance(made.fake.features, made.real.features)
    assert METRIC.measure(made).value == METRIC.measure(made).value == pytest.approx(expected, rel=1e-12)
    assert math.isfinite(METRIC.measure(evaluation(normals(5, 9), normals(5, 9))).value)
    assert samples(normals(3, 2)).features.dtype == torch.float32
