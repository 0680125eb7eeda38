"""The Gaussian MMD against its closed form, its definition and its expectation."""

import itertools
import math

import pytest
import torch
from feature_sets import evaluation, normals

from gpgan.metrics.scores import mmd
from gpgan.metrics.scores.mmd import METRIC, gaussian_mmd


def closed_form(shift, d, bandwidth):
    """Of N(0, 1) and N(shift, 1) in d dimensions, shifted along one of them."""
    b = bandwidth**2
    return 2 * (b / (b + 2)) ** (d / 2) * (1 - math.exp(-(shift**2) / (2 * (b + 2))))


def by_definition(x, y, bandwidth):
    def mean(pairs):
        values = [math.exp(-float((a.double() - b.double()).square().sum()) / (2 * bandwidth**2)) for a, b in pairs]
        return sum(values) / len(values)

    within = [mean(itertools.permutations(each, 2)) for each in (x, y)]
    return sum(within) - 2 * mean(itertools.product(x, y))


@pytest.mark.parametrize("bandwidth", [1.0, 3.0])
def test_the_closed_form_of_gaussians(bandwidth):
    x, y = normals(1500, 2), normals(1500, 2, seed=1) + torch.tensor([1.5, 0.0])
    assert gaussian_mmd(x, y, bandwidth) == pytest.approx(closed_form(1.5, 2, bandwidth), rel=0.06)


def test_the_definition_in_blocks_of_any_size(monkeypatch):
    x, y = normals(11, 4, mean=50), normals(7, 4, seed=1, mean=50.5)
    for block in (2, 30, 10_000):
        monkeypatch.setattr(mmd, "BLOCK", block)
        assert gaussian_mmd(x, y, 1.3) == pytest.approx(by_definition(x, y, 1.3), rel=1e-9)


def test_it_has_no_bias():
    draws = torch.tensor([gaussian_mmd(normals(30, 3, 2 * i), normals(40, 3, 2 * i + 1), 1.0) for i in range(40)])
    assert abs(float(draws.mean())) < 3 * float(draws.std()) / 40**0.5
    assert 10 <= int((draws < 0).sum()) <= 30


def test_the_bandwidth_is_the_median_distance_of_real_samples():
    real = torch.tensor([[0.0], [1.0], [4.0]])
    score = METRIC.measure(evaluation(real + 1, real))
    assert score.settings == {"bandwidth": 3}
    assert score.value == pytest.approx(by_definition(real + 1, real, 3), rel=1e-12)
    assert METRIC.measure(evaluation(real[:2] * 0, real[:2] * 0)).value == 0


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, math.nan, math.inf])
def test_bandwidths_that_are_refused(bandwidth):
    with pytest.raises(ValueError, match=r"bandwidth is .*; expected a finite number above 0"):
        gaussian_mmd(normals(3, 2), normals(3, 2), bandwidth)
