"""Each objective's best critic, and that its loss gives the divergence that the objective names.

A distribution on atoms is a list of counts. The mean over scores repeated by their counts is its expectation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from gpgan.objectives import OBJECTIVES, Objective, get

P, Q = torch.tensor([4, 3, 2, 1]), torch.tensor([1, 2, 3, 4])
p, q = (counts.double() / 10 for counts in (P, Q))

BEST: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "minimax": lambda p, q: torch.log(p / q),
    "non-saturating": lambda p, q: torch.log(p / q),
    "least-squares": lambda p, q: p / (p + q),
    "hinge": lambda p, q: torch.sign(p - q),
    "relativistic": lambda p, q: torch.log(p / q),
}


def kl(a: Tensor, b: Tensor) -> float:
    return float(torch.special.xlogy(a, a / b).sum())


def js(a: Tensor, b: Tensor) -> float:
    return (kl(a, (a + b) / 2) + kl(b, (a + b) / 2)) / 2


def triangular(a: Tensor, b: Tensor) -> float:
    return float(((a - b) ** 2 / (a + b)).nansum() / 2)


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "minimax": js,
    "non-saturating": js,
    "least-squares": triangular,
    "hinge": lambda a, b: float((a - b).abs().sum() / 2),
    # Of (real, fake) against (fake, real): the critic decides which of the two is real.
    "relativistic": lambda a, b: js(torch.outer(a, b).flatten(), torch.outer(b, a).flatten()),
}


def of(objective: Objective, scores: Tensor, real: Tensor = P, fake: Tensor = Q) -> tuple[Tensor, Tensor]:
    """Scores of the atoms [n] as scores of samples; for a paired objective, of every pair of a real and a fake sample."""
    reals, fakes = scores.repeat_interleave(real), scores.repeat_interleave(fake)
    if not objective.paired:
        return reals, fakes
    return reals.repeat_interleave(len(fakes)), fakes.repeat(len(reals))


@pytest.mark.parametrize("name", BEST)
def test_the_best_critic_of_two_distributions_on_atoms(name: str) -> None:
    objective, best = OBJECTIVES[name], BEST[name](p, q).requires_grad_()
    loss = objective.critic_loss(*of(objective, best))
    if name != "hinge":  # which has its minimum in a corner
        (slope,) = torch.autograd.grad(loss, best)
        assert float(slope.abs().max()) < 1e-15
    rng = torch.Generator().manual_seed(1)
    for size in (0.01, 0.3, 3.0):
        for _ in range(20):
            aside = torch.randn(4, dtype=torch.float64, generator=rng)
            aside -= aside.mean() if objective.paired else 0.0  # a paired objective is blind to a shift
            worse = objective.critic_loss(*of(objective, best.detach() + size * aside))
            assert worse > loss.detach() + 1e-4 * size**2 * float(aside.square().sum())


@pytest.mark.parametrize("name", BEST)
def test_the_best_critics_loss_is_the_divergence(name: str) -> None:
    objective = OBJECTIVES[name]
    estimate = objective.estimate(*of(objective, BEST[name](p, q))).item()
    assert estimate == pytest.approx(DIVERGENCES[name](p, q), rel=1e-13)
    assert estimate > 0.1
    any_other = objective.estimate(*of(objective, torch.tensor([0.4, 0.1, -0.2, -0.3], dtype=torch.float64)))
    assert any_other.item() < estimate


@pytest.mark.parametrize("name", BEST)
def test_where_the_distributions_are_the_same_the_best_loss_is_chance(name: str) -> None:
    objective = OBJECTIVES[name]
    scores = of(objective, BEST[name](p, p), P, P)
    assert objective.critic_loss(*scores).item() == pytest.approx(objective.chance, rel=1e-15)
    assert abs(objective.estimate(*scores).item()) < 1e-14
    other = of(objective, torch.tensor([0.5, 0.1, -0.2, -0.4], dtype=torch.float64), P, P)
    assert objective.critic_loss(*other) >= objective.chance - 1e-15


@pytest.mark.parametrize(("name", "score", "expected"), [
    ("minimax", 50.0, math.log(2)),
    ("non-saturating", 50.0, math.log(2)),
    ("least-squares", None, 1.0),
    ("hinge", 1.0, 1.0),
    ("relativistic", 50.0, math.log(2)),
])  # fmt: skip
def test_disjoint_distributions_are_as_far_apart_as_can_be(name: str, score: float | None, expected: float) -> None:
    """However close they are: only the Wasserstein objective depends on the distance."""
    real, fake = (1.0, 0.0) if score is None else (score, -score)
    estimate = OBJECTIVES[name].estimate(torch.full((3,), real).double(), torch.full((3,), fake).double())
    assert estimate.item() == pytest.approx(expected, rel=1e-15)


# --- two Gaussians

GAP, SPREAD = 1.5, 1.3
REAL, FAKE = stats.norm(0.0, 1.0), stats.norm(GAP, SPREAD)


def quantiles(distribution: stats.rv_continuous, count: int) -> np.ndarray:
    """Points over which the mean of a function is its expectation, except for tails of probability 1 / count."""
    return distribution.ppf((np.arange(count) + 0.5) / count)


def integral(of: Callable[[float], float]) -> float:
    return integrate.quad(of, -12.0, 14.0, epsabs=1e-12, limit=400, points=[-4.0, 0.0, 0.5, 1.0, 4.0])[0]


def scored(best: Callable[[np.ndarray], np.ndarray], paired: bool = False) -> tuple[Tensor, Tensor]:
    """Scores of both; if paired, of every pair of fewer points."""
    real, fake = (torch.from_numpy(best(quantiles(each, 600 if paired else 200_000))) for each in (REAL, FAKE))
    return (real.repeat_interleave(len(fake)), fake.repeat(len(real))) if paired else (real, fake)


def log_ratio(x: np.ndarray) -> np.ndarray:
    return REAL.logpdf(x) - FAKE.logpdf(x)


def gaussian_js() -> float:
    def halves(x: float) -> float:
        a, b = REAL.pdf(x), FAKE.pdf(x)
        return (a * math.log(2 * a / (a + b)) + b * math.log(2 * b / (a + b))) / 2

    return integral(halves)


def test_the_minimax_value_of_two_gaussians_is_two_js_less_log_four() -> None:
    objective, scores = get("minimax"), scored(log_ratio)
    value = -objective.critic_loss(*scores).item()
    assert value == pytest.approx(2 * gaussian_js() - math.log(4), abs=1e-5)
    assert objective.estimate(*scores).item() == pytest.approx(gaussian_js(), abs=1e-5)


@pytest.mark.parametrize("name", BEST)
def test_bent_critics_of_two_gaussians_are_worse(name: str) -> None:
    def best(x: np.ndarray) -> np.ndarray:
        ratio = np.exp(log_ratio(x))
        return BEST[name](torch.from_numpy(ratio), torch.ones(1, dtype=torch.float64)).numpy()

    def loss(critic: Callable[[np.ndarray], np.ndarray]) -> float:
        return objective.critic_loss(*scored(critic, objective.paired)).item()

    objective = OBJECTIVES[name]
    for bent in (lambda x: 1.1 * best(x), lambda x: 0.9 * best(x), lambda x: best(x) + 0.1 * np.sin(x)):
        assert loss(bent) > loss(best) + 1e-5


def test_total_variation_and_triangular_discrimination_of_two_gaussians() -> None:
    variation = integral(lambda x: abs(REAL.pdf(x) - FAKE.pdf(x))) / 2
    estimate = get("hinge").estimate(*scored(lambda x: np.sign(log_ratio(x))))
    assert estimate.item() == pytest.approx(variation, abs=2e-5)
    triangle = integral(lambda x: (REAL.pdf(x) - FAKE.pdf(x)) ** 2 / (REAL.pdf(x) + FAKE.pdf(x))) / 2
    estimate = get("least-squares").estimate(*scored(lambda x: 1 / (1 + np.exp(-log_ratio(x)))))
    assert estimate.item() == pytest.approx(triangle, abs=1e-5)


# --- the Wasserstein distance: the best critic of slope 1


def test_the_wasserstein_estimate_is_the_distance_for_the_best_slopes_and_less_for_others() -> None:
    places = torch.tensor([0.0, 1.0, 2.5, 4.0], dtype=torch.float64)
    # E f(real) - E f(fake) = integral of f' (F_fake - F_real): f' takes the sign.
    signs = torch.sign((q - p).cumsum(0)[:-1])
    steps = places.diff()

    def estimate(slopes: Tensor) -> float:
        critic = torch.cat([torch.zeros(1, dtype=torch.float64), (slopes * steps).cumsum(0)])
        return get("wasserstein").estimate(*of(get("wasserstein"), critic)).item()

    distance = stats.wasserstein_distance(places.numpy(), places.numpy(), p.numpy(), q.numpy())
    assert estimate(signs) == pytest.approx(distance, rel=1e-14)
    rng = torch.Generator().manual_seed(1)
    for _ in range(50):
        slopes = 2 * torch.rand(3, dtype=torch.float64, generator=rng) - 1
        assert estimate(slopes) < distance


def test_the_wasserstein_anchors() -> None:
    def distance(real: list[float], fake: list[float]) -> float:
        """By f(x) = -x, the best critic if every fake sample is above its real one."""
        return get("wasserstein").estimate(-torch.tensor(real), -torch.tensor(fake)).item()

    assert distance([0.0, 1.0, 2.0], [2.0, 3.0, 4.0]) == 2
    assert distance([0.0], [3.0]) == 3
