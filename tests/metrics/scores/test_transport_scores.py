"""Transport distances of features: closed forms, the directions that are found, and the Sinkhorn divergence."""

import math

import pytest
import torch
from feature_sets import evaluation, normals

from gpgan.metrics.registry import METRICS
from gpgan.metrics.scores import max_sliced_w, sinkhorn
from gpgan.metrics.scores.max_sliced_w import max_sliced_wasserstein
from gpgan.metrics.scores.sinkhorn import sinkhorn_divergence
from gpgan.metrics.scores.sliced_w import distances_along, sliced_wasserstein
from gpgan.metrics.transport import wasserstein2

LINE = torch.tensor([[0.0], [1.0], [2.0]])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def shifted(n=500, d=10):
    x = normals(n, d)
    return x, x + 3 * torch.nn.functional.one_hot(torch.tensor(2), d)


@pytest.mark.parametrize("name", ["w1", "w2"])
def test_a_shift_of_three_points(name):
    made = evaluation(LINE, LINE + 2)
    assert METRICS[name].measure(made).value == pytest.approx(2, rel=1e-12)
    assert METRICS[name].most == 2500


def test_w2_by_hand():
    """One of two points moves by 3, the other by 4: the root of (9 + 16) / 2."""
    x = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    y = torch.tensor([[10.0, 4.0], [0.0, 3.0]])
    assert wasserstein2(x, y) == pytest.approx(12.5**0.5, rel=1e-12)
    assert METRICS["w1"].measure(evaluation(x, y)).value == pytest.approx(3.5, rel=1e-12)


def test_w2_of_gaussians():
    """|m|^2 + sum (s - t)^2 in the plane; its bias is upwards."""
    x = normals(1000, 2)
    y = normals(1000, 2, seed=1, mean=2) * torch.tensor([1.0, 2.0])
    expected = (4 + 16 + 1) ** 0.5
    assert expected * 0.98 < wasserstein2(x, y) < expected * 1.05


def test_sliced_w_of_a_shift():
    """3 E|u| of one coordinate u of a random direction: in d dimensions G(d / 2) / (sqrt(pi) G((d + 1) / 2))."""
    expected = 3 * math.gamma(5) / (math.pi**0.5 * math.gamma(5.5))
    assert expected == pytest.approx(0.776, abs=1e-3)
    x, y = shifted()
    found = sliced_wasserstein(x, y, rng=rng())
    assert found == pytest.approx(expected, rel=0.08)
    assert found == sliced_wasserstein(x, y, rng=rng()) != sliced_wasserstein(x, y, rng=rng(1))
    score = METRICS["sliced_w"].measure(evaluation(x, y))
    assert (score.value, score.settings) == (found, {"projections": 500, "p": 1})


def test_sliced_w_averages_over_blocks_of_directions():
    x, y = normals(20, 3), normals(20, 3, seed=1, mean=1)
    directions = torch.randn(3, 250, generator=rng(), dtype=torch.float64)
    directions /= directions.norm(dim=0)
    expected = distances_along(x.double(), y.double(), directions).mean()
    assert sliced_wasserstein(x, y, projections=250, rng=rng()) == pytest.approx(float(expected), rel=1e-12)
    assert sliced_wasserstein(x, x.flip(0), rng=rng()) == 0
    assert sliced_wasserstein(LINE, LINE + 2, rng=rng()) == pytest.approx(2)


def test_max_sliced_w_finds_a_shift():
    x, y = shifted()
    found = max_sliced_wasserstein(x, y, rng=rng())
    assert found == pytest.approx(3, rel=1e-3)
    assert found == max_sliced_wasserstein(x, y, rng=rng())
    assert METRICS["max_sliced_w"].measure(evaluation(x, y)).value == found


def test_max_sliced_w_finds_what_means_do_not_show():
    """Along one of ten axes y is twice as wide: W1 of N(0, 1) and N(0, 4) is E|z| = 0.798."""
    x, y = normals(2000, 10), normals(2000, 10, seed=1) * torch.tensor([2.0] + [1.0] * 9)
    found = max_sliced_wasserstein(x, y, rng=rng())
    directions = torch.randn(10, 500, generator=rng(5), dtype=torch.float64)
    random = distances_along(x.double(), y.double(), directions / directions.norm(dim=0)).max()
    assert found > float(random)
    assert found == pytest.approx((2 / math.pi) ** 0.5, abs=0.05)


def test_max_sliced_w_is_the_best_that_was_seen(monkeypatch):
    """Steps that are far too long lead away from the best start."""
    x, y = normals(300, 10), normals(300, 10, seed=1) * torch.tensor([1.5] + [1.0] * 9)
    directions = torch.randn(10, max_sliced_w.TRIED, generator=rng(), dtype=torch.float64)
    start = distances_along(x.double(), y.double(), directions / directions.norm(dim=0)).max()
    monkeypatch.setattr(max_sliced_w, "RATE", 1e3)
    monkeypatch.setattr(max_sliced_w, "STEPS", 2)
    assert max_sliced_wasserstein(x, y, rng=rng()) >= float(start) * (1 - 1e-12)


def test_max_sliced_w_of_equal_sets():
    x = normals(50, 4)
    assert max_sliced_wasserstein(x, x.flip(0), rng=rng()) == pytest.approx(0, abs=1e-12)
    assert max_sliced_wasserstein(LINE, LINE + 2, rng=rng()) == pytest.approx(2)


def test_sinkhorn_of_two_points():
    assert sinkhorn_divergence(torch.zeros(1, 2), torch.tensor([[0.0, 3.0]]), 0.1) == pytest.approx(9)
    x = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    assert sinkhorn_divergence(x, x + torch.tensor([0.0, 3.0]), 0.1) == pytest.approx(9, rel=1e-4)


def test_sinkhorn_of_equal_and_of_other_sets():
    x, y = normals(60, 3), normals(80, 3, seed=1, mean=1)
    assert sinkhorn_divergence(x, x.flip(0), 0.3) == pytest.approx(0, abs=1e-3)
    assert sinkhorn_divergence(x, y, 0.1) == pytest.approx(wasserstein2(x, y) ** 2, rel=0.1)
    assert sinkhorn_divergence(x, y, 0.3) == pytest.approx(sinkhorn_divergence(y, x, 0.3), rel=1e-4)


def test_sinkhorn_against_another_solver():
    import ot

    x, y, blur = normals(20, 3).double(), normals(25, 3, seed=1, mean=0.5).double(), 0.5

    def cost(a, b):
        """<P, C> + blur^2 KL(P, a b)."""
        c = torch.cdist(a, b).square().numpy()
        plan = torch.as_tensor(ot.sinkhorn([], [], c, blur**2, stopThr=1e-7, numItermax=20_000))
        entropy = torch.special.xlogy(plan, plan * len(a) * len(b)).sum()
        return float((plan * torch.as_tensor(c)).sum() + blur**2 * entropy)

    expected = cost(x, y) - (cost(x, x) + cost(y, y)) / 2
    assert sinkhorn_divergence(x, y, blur) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("d", [2, 1280])
def test_sinkhorn_converges_for_real_sizes(d):
    x, y = normals(300, d).relu(), normals(300, d, seed=1).relu() + 0.1
    score = METRICS["sinkhorn"].measure(evaluation(x, y))
    assert score.settings["blur"] == pytest.approx(0.1 * float(torch.pdist(y).median()))
    exact = [wasserstein2(x, y) ** 2, sinkhorn_divergence(x, y, score.settings["blur"])]
    assert score.value == exact[1]
    assert 0 < score.value < exact[0]


def test_sinkhorn_that_does_not_converge(monkeypatch):
    monkeypatch.setattr(sinkhorn, "UPDATES", 3)
    with pytest.raises(RuntimeError, match=r"no convergence after 3 updates with a blur of 0.01; expected a larger"):
        sinkhorn_divergence(normals(9, 2), normals(9, 2, seed=1), 0.01)
    assert math.isnan(METRICS["sinkhorn"].measure(evaluation(normals(9, 2), normals(9, 2, seed=1))).value)
