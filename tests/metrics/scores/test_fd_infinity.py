"""FD-infinity: where FD's bias is larger than what it measures."""

import pytest
import torch
from feature_sets import evaluation, normals

from gpgan.metrics.scores.fd import frechet_distance
from gpgan.metrics.scores.fd_infinity import METRIC, SHARES, extrapolated, frechet_distance_infinity


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_is_nearer_to_the_truth():
    x = normals(1000, 60)
    y = normals(1000, 60, seed=1)
    y[:, 0] += 0.5  # 0.25
    plain, found = frechet_distance(x, y), frechet_distance_infinity(x, y, rng())
    assert plain > 2
    assert found == pytest.approx(0.25, abs=0.4)


def test_equal_distributions_are_near_zero():
    found = [frechet_distance_infinity(normals(400, 20, 2 * i), normals(400, 20, 2 * i + 1), rng()) for i in range(10)]
    assert abs(sum(found) / 10) < 0.05 * frechet_distance(normals(400, 20), normals(400, 20, seed=1))


def test_a_line_in_one_over_n():
    """3 + 20 / n."""
    assert extrapolated([50, 70, 100], [3.4, 3 + 20 / 70, 3.2]) == pytest.approx(3, rel=1e-12)


def test_it_is_the_line_through_fd_of_subsets():
    """Of as many samples of both sets."""
    x, y = normals(100, 4), normals(130, 4, seed=1)
    draw = rng()
    first, second = x[torch.randperm(100, generator=draw)], y[torch.randperm(130, generator=draw)]
    counts = [round(100 * share) for share in SHARES]
    values = [frechet_distance(first[:count], second[:count]) for count in counts]
    assert frechet_distance_infinity(x, y, rng()) == pytest.approx(extrapolated(counts, values), rel=1e-9)


def test_subsets_are_random_and_repeatable():
    """Samples sorted by class make no difference but chance."""
    x = torch.cat([normals(200, 3, mean=-3), normals(200, 3, seed=1, mean=3)])
    y = torch.cat([normals(200, 3, seed=2, mean=-3), normals(200, 3, seed=3, mean=3)])
    found = frechet_distance_infinity(x, y, rng())
    assert abs(found) < 1
    assert found == frechet_distance_infinity(x, y, rng()) != frechet_distance_infinity(x, y, rng(1))
    score = METRIC.measure(evaluation(x, y))
    assert (score.value, score.settings) == (found, {"shares of n": list(SHARES)})


def test_too_few_samples():
    x = normals(40, 20)
    refused = METRIC.refuses(evaluation(x, x))
    assert refused == ("n is 40 and there are 20 features; expected more than 40 samples: use kd, which has no bias")
    assert METRIC.refuses(evaluation(normals(41, 20), normals(41, 20))) == ""
    with pytest.raises(ValueError, match=r"^n is 40 and there are 20 features; expected more than 40 samples$"):
        frechet_distance_infinity(x, x, rng())
