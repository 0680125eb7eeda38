"""Exact W1: closed forms, another solver, published floors, and invalid input."""

import itertools
import math
import sys

import pytest
import torch

from gpgan.data import load
from gpgan.metrics import transport, w1_floor, wasserstein1

# Factors to the units of the original code, which the floors are in.
FLOORS = {"ring": (2 / 1.414, 0.052), "grid": (1 / 2.828, 0.064), "swissroll": (1.0, 0.065)}
EXACT = {"rel": 1e-12, "abs": 1e-12}


@pytest.fixture(params=["line", "plane", "images"])
def lift(request):
    """Numbers [N] as samples: scalars, or points on a line in more dimensions."""
    direction = {"line": 1.0, "plane": [0.6, 0.8], "images": [[[0.5, 0.5], [0.5, 0.5]]]}
    step = torch.tensor(direction[request.param], dtype=torch.float64)
    return lambda numbers: torch.tensor(numbers, dtype=torch.float64).view(-1, *[1] * step.dim()) * step


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([0, 1, 2], [2, 3, 4], 2),
        ([0], [3], 3),
        ([0, 0, 0, 0], [3], 3),
        ([0, 1], [0], 0.5),
        ([0, 1, 5], [5, 0, 1], 0),
        ([0, 10], [1, 2, 9], (1 + 2 * 0.5 + 8 * 0.5 + 1 * 1) / 3),
    ],
)
def test_by_hand(lift, x, y, expected):
    assert wasserstein1(lift(x), lift(y)) == pytest.approx(expected, **EXACT)
    assert wasserstein1(lift(y), lift(x)) == pytest.approx(expected, **EXACT)


def test_translation_and_scale():
    x = torch.randn(60, 3, dtype=torch.float64)
    shift = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64)
    assert wasserstein1(x, x + shift) == pytest.approx(3, **EXACT)
    y = torch.randn(40, 3, dtype=torch.float64)
    assert wasserstein1(5 * x, 5 * y) == pytest.approx(5 * wasserstein1(x, y), **EXACT)


def test_order_does_not_matter():
    x, y = torch.randn(50, 2), torch.randn(70, 2)
    assert wasserstein1(x[torch.randperm(50)], y[torch.randperm(70)]) == pytest.approx(wasserstein1(x, y), **EXACT)


def test_best_of_all_assignments():
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    best = min(float((x - y[list(order)]).norm(dim=1).mean()) for order in itertools.permutations(range(6)))
    assert wasserstein1(x, y) == pytest.approx(best, **EXACT)


def test_one_point_is_the_mean_distance():
    x = torch.randn(30, 1, 4, 4, dtype=torch.float64)
    expected = x.flatten(1).norm(dim=1).mean()
    assert wasserstein1(x, torch.zeros(1, 1, 4, 4)) == pytest.approx(float(expected), **EXACT)


def test_same_points_far_from_the_origin():
    x = 1e6 + torch.randn(30, 2, dtype=torch.float64)
    assert wasserstein1(x, x.flip(0)) == 0


def test_other_types():
    x, y = torch.tensor([[0, 0], [3, 4]], dtype=torch.uint8), torch.tensor([[3.0, 4.0]], dtype=torch.float16)
    assert wasserstein1(x, y) == pytest.approx(2.5, **EXACT)


@pytest.mark.parametrize("name", FLOORS)
def test_floors_in_print(name):
    factor, printed = FLOORS[name]
    points = load(name).samples()
    rng = torch.Generator().manual_seed(0)
    # On the ring single draws vary by a third, as the counts of its distant modes do.
    floors = [factor * w1_floor(points, 2500, rng=rng) for _ in range(4)]
    assert sum(floors) / len(floors) == pytest.approx(printed, rel=0.3)
    assert len(set(floors)) == len(floors), "each draw is another one"


def test_floor_takes_no_sample_twice():
    # {0, 1} and {10, 100} are 54.5 apart, both other ways to halve these four give 45.5.
    points = torch.tensor([[0.0, 0], [1, 0], [10, 0], [100, 0]])
    rng = torch.Generator().manual_seed(1)
    seen = {round(w1_floor(points, 2, rng=rng), 9) for _ in range(40)}
    assert seen == {54.5, 45.5}


@pytest.mark.parametrize("n", [0, -1, 6])
def test_too_few_samples_for_a_floor(n):
    with pytest.raises(ValueError, match=rf"n is {n} and there are 11 samples; expected n from 1 to 5"):
        w1_floor(torch.zeros(11, 2), n, rng=torch.Generator())


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 3), r"x has shape \(3, 2\) and y \(3, 3\); expected"),
        (torch.zeros(()), torch.zeros(3), r"x has shape \(\) and y \(3,\); expected"),
        (torch.zeros(0, 2), torch.zeros(3, 2), r"x has shape \(0, 2\), which has no values"),
        (torch.zeros(3, 2), torch.zeros(0, 2), r"y has shape \(0, 2\), which has no values"),
        (torch.zeros(3, 0), torch.zeros(3, 0), r"x has shape \(3, 0\), which has no values"),
        (torch.zeros(3, 2), torch.full((3, 2), math.nan), "y holds NaN or infinite values"),
        (torch.tensor([math.inf]), torch.zeros(3), "x holds NaN or infinite values"),
    ],
)
def test_samples_without_a_distance(x, y, message):
    with pytest.raises(ValueError, match=message):
        wasserstein1(x, y)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [("ot", (3, 2), "needs POT, .*: pip install pot"), ("scipy.stats", (3,), "needs SciPy, .*: pip install scipy")],
)
def test_missing_package(monkeypatch, module, shape, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=message) as error:
        wasserstein1(torch.zeros(shape), torch.ones(shape))
    assert error.value.name == module


@pytest.mark.filterwarnings("ignore:numItermax reached")
def test_solver_that_gives_up(monkeypatch):
    monkeypatch.setattr(transport, "PIVOTS", 1)
    with pytest.raises(RuntimeError, match=r"no optimal transport found for a cost matrix \(50, 50\): "):
        wasserstein1(torch.randn(50, 2), torch.randn(50, 2))


def test_blurred_real_samples_can_be_nearer_than_fresh_ones():
    """So the distance between two sets of real samples is no lower bound."""
    rng = torch.Generator().manual_seed(0)
    real, fresh = torch.randn(2, 50, 64, generator=rng)
    assert wasserstein1(fresh * 0.3, real) < 0.9 * wasserstein1(fresh, real)
