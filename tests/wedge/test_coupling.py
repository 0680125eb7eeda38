"""Plans between observations and candidates, against closed forms and against POT."""

from __future__ import annotations

import math

import ot
import pytest
import torch

from gpgan.wedge.coupling import effective, entropic, exact, minibatch
from gpgan.wedge.langevin import langevin


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_entropic_weights_are_a_boltzmann_posterior(gamma: float):
    """x ~ N(0, 1), y = x + s n: the mean is y / (1 + gamma s^2), the variance gamma s^2 / (1 + gamma s^2)."""
    s = 0.8
    candidates = torch.randn(200_000, generator=rng(), dtype=torch.float64)
    observations = torch.tensor([-0.7, 0.3, 1.5], dtype=torch.float64)
    scores = -((observations[:, None] - candidates) ** 2) / (2 * s**2)
    weights = entropic(scores[:, None], gamma)[:, 0]
    mean = weights @ candidates
    variance = weights @ candidates.square() - mean.square()
    heat = gamma * s**2
    torch.testing.assert_close(mean, observations / (1 + heat), atol=0.01, rtol=0)
    torch.testing.assert_close(variance, torch.full_like(mean, heat / (1 + heat)), atol=0.01, rtol=0)


@pytest.mark.parametrize("dims", [1, 3, 6])
def test_reweighting_draws_fails_with_the_dimension(dims: int):
    """The effective number of N draws is N (E w)^2 / E w^2, a product over dimensions of Gaussian integrals."""
    s, count = 0.5, 400_000
    y = torch.full((dims,), 0.4, dtype=torch.float64)
    draws = torch.randn(count, dims, generator=rng(), dtype=torch.float64)
    weights = entropic(-((y - draws) ** 2).sum(1)[None, None] / (2 * s**2), 1.0)
    v = s**2
    first = math.sqrt(v / (1 + v)) * math.exp(-0.16 / (2 * (1 + v)))
    second = math.sqrt(v / (2 + v)) * math.exp(-0.16 / (2 + v))
    expected = count * (first**2 / second) ** dims
    assert float(effective(weights)[0]) == pytest.approx(expected, rel=0.1)


def test_a_cold_entropic_plan_is_the_exact_one():
    scores = torch.randn(20, 3, 5, generator=rng())
    torch.testing.assert_close(entropic(scores, 1e-3), exact(scores), atol=1e-3, rtol=0)


def test_fixed_masses_are_kept_by_both_plans():
    """Sinkhorn's fixes both marginals; the linear program's plan is POT's own, of the best pose of each class."""
    masses = torch.tensor([0.2, 0.3, 0.5])
    scores = torch.randn(40, 3, 4, generator=rng()) * 3 + torch.tensor([5.0, 0.0, 0.0])[:, None]
    soft, hard = entropic(scores, 1.0, masses), exact(scores, masses)
    for plan in (soft, hard):
        torch.testing.assert_close(plan.flatten(1).sum(1), torch.ones(40))
        torch.testing.assert_close(plan.sum((0, 2)) / 40, masses, atol=1e-3, rtol=0)
    best = scores.amax(2).double()
    expected = ot.emd(torch.full((40,), 1 / 40).double(), masses.double() / masses.double().sum(), best.max() - best)
    torch.testing.assert_close(hard.sum(2).double(), 40 * expected, atol=1e-5, rtol=0)
    # Without the constraint the first class would take nearly all.
    assert entropic(scores, 1.0).sum((0, 2))[0] > 30


def test_the_entropic_plan_with_fixed_masses_is_pots():
    masses, scores = torch.tensor([0.25, 0.75]), torch.randn(12, 2, 1, generator=rng(), dtype=torch.float64)
    expected = ot.sinkhorn(torch.full((12,), 1 / 12).double(), masses.double(), -scores[:, :, 0], 0.7, stopThr=1e-12)
    torch.testing.assert_close(entropic(scores, 0.7, masses)[:, :, 0] / 12, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_a_minibatch_plan_has_both_marginals_uniform(gamma: float):
    scores = torch.randn(12, 2, 6, generator=rng())
    plan = minibatch(scores, gamma)
    torch.testing.assert_close(plan.flatten(1).sum(1), torch.ones(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(plan.sum(0), torch.ones(2, 6), atol=1e-3, rtol=0)


def test_langevin_steps_have_the_variance_of_their_step():
    """U = a x^2 / 2: 1 / (a (1 - eta a / 2)), for two curvatures at once."""
    curvature, eta = torch.tensor([1.0, 4.0]), 0.3
    start = torch.zeros(4000, 2)
    mean, deviation, last = langevin(start, lambda x: curvature * x, eta, 60, rng())
    expected = 1 / (curvature * (1 - eta * curvature / 2))
    torch.testing.assert_close(last.var(0), expected, rtol=0.08, atol=0)
    assert mean.mean(0).abs().max() < 0.05
    assert deviation.shape == start.shape


def test_langevin_steps_find_the_posterior_of_an_observation():
    """Prior N(0, 1), y = x + s n: mean y / (1 + s^2), variance s^2 / (1 + s^2), up to the step."""
    s, y = 0.7, torch.tensor([1.2, -0.4]).repeat(3000, 1)
    eta = 0.01
    _, _, last = langevin(torch.zeros_like(y), lambda x: x + (x - y) / s**2, eta, 400, rng(1))
    a = 1 + 1 / s**2
    torch.testing.assert_close(last.mean(0), y[0] / (1 + s**2), atol=0.04, rtol=0)
    torch.testing.assert_close(last.var(0), torch.full((2,), 1 / (a * (1 - eta * a / 2))), rtol=0.1, atol=0)
