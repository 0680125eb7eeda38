"""KD against its definition, its expectation, and its floor."""

import itertools

import pytest
import torch
from feature_sets import evaluation, normals

from gpgan.metrics.scores import kd
from gpgan.metrics.scores.kd import METRIC, kernel_distance


def by_definition(x, y):
    def mean(pairs):
        values = [(float(a.double() @ b.double()) / len(a) + 1) ** 3 for a, b in pairs]
        return sum(values) / len(values)

    within = [mean(itertools.permutations(each, 2)) for each in (x, y)]
    return sum(within) - 2 * mean(itertools.product(x, y))


def test_the_definition():
    x, y = normals(13, 7), normals(9, 7, seed=1, mean=0.5)
    assert kernel_distance(x, y) == pytest.approx(by_definition(x, y), rel=1e-12)
    assert METRIC.measure(evaluation(x, y)).value == pytest.approx(1000 * by_definition(x, y), rel=1e-12)


@pytest.mark.parametrize("rows", [1, 4, 13, 100])
def test_blocks_of_any_size(monkeypatch, rows):
    x, y = normals(13, 7), normals(9, 7, seed=1)
    expected = kernel_distance(x, y)
    monkeypatch.setattr(kd, "ROWS", rows)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [2, 3, 50])
def test_it_needs_no_subsets(monkeypatch, n):
    """Complaint: subsets larger than n, and memory. Any n from 2 on is taken whole, and never more than a block at once."""
    sizes = []
    kernel = kd._kernel
    monkeypatch.setattr(kd, "ROWS", 10)
    monkeypatch.setattr(kd, "_kernel", lambda products, d: sizes.append(products.numel()) or kernel(products, d))
    x, y = normals(n, 6), normals(n, 6, seed=1)
    assert kernel_distance(x, y) == pytest.approx(by_definition(x, y), rel=1e-12)
    assert max(sizes) <= 10 * max(n, 10)


def test_it_has_no_bias():
    """Complaint: scores that depend on n. The mean of 40 draws of one distribution is 0, so that half are negative."""
    for n in (20, 200):
        draws = torch.tensor([kernel_distance(normals(n, 4, 2 * i), normals(n, 4, 2 * i + 1)) for i in range(40)])
        assert abs(float(draws.mean())) < 3 * float(draws.std()) / 40**0.5
        assert 10 <= int((draws < 0).sum()) <= 30


def test_the_expectation_for_a_shift():
    """x of N(0, 1) and y of N(m, 1): E k(x, x') of (a + 1)^3 for a = x x' is 1 + 3 E a^2, and so on, in one dimension."""
    m = 0.7
    of_x, of_y = 1 + 3, 1 + 3 * m**2 + 3 * (1 + m**2) ** 2 + (3 * m + m**3) ** 2
    between = 1 + 3 * (1 + m**2)
    draws = [kernel_distance(normals(500, 1, 2 * i), normals(500, 1, 2 * i + 1, mean=m)) for i in range(40)]
    assert torch.tensor(draws).mean() == pytest.approx(of_x + of_y - 2 * between, rel=0.05)


def test_the_real_sets_part_is_computed_once(monkeypatch):
    made = evaluation(normals(20, 3), normals(20, 3, seed=1))
    calls = []
    within = kd._within
    monkeypatch.setattr(kd, "_within", lambda x: calls.append(len(x)) or within(x))
    scores = [METRIC.measure(made).value for _ in range(2)]
    assert scores[0] == scores[1]
    assert len(calls) == 2  # one of each set


def test_large_features_keep_their_digits():
    """Complaint: kernels in low precision."""
    x, y = normals(30, 5, mean=1e3), normals(30, 5, seed=1, mean=1e3)
    assert kernel_distance(x, y) == pytest.approx(by_definition(x, y), rel=1e-6)
