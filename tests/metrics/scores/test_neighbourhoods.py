"""Precision, recall, density and coverage, against the definitions in the papers and their expectations."""

import numpy as np
import pytest
import torch
from feature_sets import evaluation, normals

from gpgan.metrics.registry import METRICS
from gpgan.metrics.scores import neighbourhoods as module
from gpgan.metrics.scores import neighbours
from gpgan.metrics.scores.neighbourhoods import K, Neighbourhoods, neighbourhoods, refuses
from gpgan.metrics.scores.neighbours import DIRECT, blocks_of_squares, nearest, nearest_squares

FOUR = ("precision", "recall", "density", "coverage")


def apart(x, y):
    return np.linalg.norm(x.double().numpy()[:, None] - y.double().numpy()[None], axis=2)


def radius(x, k):
    """Of each sample's k-th neighbour, itself not counted."""
    return np.array([np.sort(np.delete(row, i))[k - 1] for i, row in enumerate(apart(x, x))])


def by_definition(fake, real, k):
    between = apart(fake, real)  # [N, M]
    of_fake, of_real = radius(fake, k), radius(real, k)
    precision = np.mean([any(row <= of_real) for row in between])
    recall = np.mean([any(column <= of_fake) for column in between.T])
    density = np.mean([sum(row <= of_real) for row in between]) / k
    coverage = np.mean([min(column) <= r for column, r in zip(between.T, of_real, strict=True)])
    return precision, recall, density, coverage


def numbers(found):
    return [getattr(found, name) for name in FOUR]


@pytest.mark.parametrize(
    ("n", "m", "k", "shift", "d"),
    [(60, 50, 5, 0.5, 6), (30, 70, 1, 1.0, 6), (50, 40, 3, 0.3, 6), (70, 60, 3, 0.15, 50)],
)
def test_the_definitions(n, m, k, shift, d):
    fake, real = normals(n, d, mean=shift), normals(m, d, seed=1)
    expected = by_definition(fake, real, k)
    assert len({0.0, 1.0, *expected}) == 6, "all four are between 0 and 1, and different"
    assert numbers(neighbourhoods(fake, real, k)) == pytest.approx(expected, rel=1e-12)


def test_the_four_metrics_and_their_single_pass(monkeypatch):
    fake, real = normals(60, 6, mean=0.5), normals(50, 6, seed=1)
    calls = []
    shares = module._shares
    monkeypatch.setattr(module, "_shares", lambda *each: calls.append(1) or shares(*each))
    made = evaluation(fake, real)
    scores = [METRICS[name].measure(made) for name in FOUR]
    assert [score.value for score in scores] == pytest.approx(by_definition(fake, real, K), rel=1e-12)
    assert all(score.settings == {"k": K} for score in scores)
    assert calls == [1]
    other = evaluation(fake, fake)
    other = type(made)(made.fake, other.real)
    assert METRICS["recall"].measure(other).value == 1, "the same fakes against other reals are measured anew"


@pytest.mark.parametrize(("k", "n"), [(5, 100), (3, 40)])
def test_the_expected_coverage_of_equal_distributions(k, n):
    """The chance that the k nearest of 2 n - 1 other samples, n of them fake, are all real is
    (n - 1) (n - 2) .. (n - k) / ((2 n - 1) .. (2 n - k))."""
    product = 1.0
    for i in range(1, k + 1):
        product *= (n - i) / (2 * n - i)
    found = [neighbourhoods(normals(n, 3, 2 * i), normals(n, 3, 2 * i + 1), k).coverage for i in range(100)]
    assert np.mean(found) == pytest.approx(1 - product, abs=4 * np.std(found) / 10)
    density = [neighbourhoods(normals(n, 3, 2 * i), normals(n, 3, 2 * i + 1), k).density for i in range(100)]
    # Each neighbourhood holds k fakes on average of (n + 1) places between n reals.
    assert np.mean(density) == pytest.approx(1, abs=0.05)


def test_constant_features():
    """Complaint: equal samples give 0, 0, 0, 0."""
    for value in (0.0, 0.3, 1e4):
        fake, real = torch.full((40, 300), value), torch.full((50, 300), value)
        assert numbers(neighbourhoods(fake, real)) == [1, 1, 50 / K, 1]


def test_one_sample_repeated():
    """Complaint: precision and recall swapped."""
    real = normals(200, 8)
    found = neighbourhoods(real[:1].repeat(100, 1), real)
    assert (found.precision, found.recall) == (1, 1 / 200)  # the sample itself
    between = neighbourhoods((real[:1] + 0.01).repeat(100, 1), real)
    assert (between.precision, between.recall) == (1, 0)
    swapped = neighbourhoods(real, (real[:1] + 0.01).repeat(100, 1))
    assert (swapped.precision, swapped.recall) == (0, 1)


def test_groups_of_equal_samples():
    """Neighbourhoods whose radius is 0."""
    groups = normals(5, 1280).repeat(20, 1)
    assert numbers(neighbourhoods(groups, groups[torch.randperm(100)])) == [1, 1, 20 / K, 1]
    half = neighbourhoods(groups[groups[:, 0] > groups[:5, 0].median()], groups)
    assert numbers(half) == [1, 0.4, 20 / K, 0.4]


def test_equal_sets():
    x = normals(100, 200)
    found = neighbourhoods(x, x.clone())
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == (K + 1) / K  # the sample itself and its K neighbours
    far = neighbourhoods(x, x + 100)
    assert far == Neighbourhoods(0, 0, 0, 0)


@pytest.mark.parametrize("block", [1, 37 * 5, 10_000])
@pytest.mark.parametrize("d", [6, 60])
def test_blocks_of_any_size(monkeypatch, d, block):
    fake, real = normals(60, d, mean=0.5), normals(37, d, seed=1)
    monkeypatch.setattr(neighbours, "BLOCK", block)
    assert numbers(neighbourhoods(fake, real)) == pytest.approx(by_definition(fake, real, K), rel=1e-12)


@pytest.mark.parametrize("mean", [0.0, 30.0, 1e4])
@pytest.mark.parametrize("d", [3, DIRECT, DIRECT + 1, 300])
def test_distances_far_from_zero(d, mean):
    x, y = normals(50, d, mean=mean), normals(60, d, seed=1, mean=mean)
    (squares,) = (each for _, each in blocks_of_squares(x, y))
    expected = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    assert torch.allclose(squares.double(), expected, rtol=1e-5)
    found, indices = nearest(x, y, 3)
    best = expected.topk(3, largest=False)
    assert torch.equal(indices, best.indices)
    assert torch.allclose(found.double(), best.values, rtol=1e-5)


def test_points_that_are_dense():
    """Neighbours 1e-4 apart among points that are 4 apart, as of a mixture."""
    y = normals(2000, 2, deviation=1e-3) + 4 * torch.randint(-1, 2, (2000, 2))
    squares, indices = nearest(y, y, 2)
    expected = torch.cdist(y.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").topk(2, largest=False)
    assert torch.equal(indices[:, 1], expected.indices[:, 1])
    assert torch.allclose(squares.double().sqrt(), expected.values, rtol=1e-5)
    assert torch.allclose(nearest_squares(y, y, unequal=True).double().sqrt(), expected.values[:, 1], rtol=1e-5)


def test_too_few_samples():
    few, many = normals(K, 3), normals(K + 1, 3)
    assert refuses(evaluation(few, many)) == f"fake has {K} samples; expected more than k = {K}"
    assert refuses(evaluation(many, few)) == f"real has {K} samples; expected more than k = {K}"
    assert refuses(evaluation(many, many)) == ""
