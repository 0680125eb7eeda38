"""The three methods on a number in place of a volume, where the answer is known.

x ~ N(0, 1), halves y_0 and y_1 with noise s = 1 each, and a linear G(y) = g y: the loss is ``|G(y_0) - y_1|^2 / 2 s^2``
plus mu times a distance between the laws of ``G(y_0) + s n`` and ``y_1``.
"""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from gpgan import objectives
from gpgan.critic.step import CriticStep
from gpgan.penalty import Penalty
from gpgan.tasks.updates import descend, verdict
from gpgan.util.frozen import frozen
from gpgan.wedge.coupling import entropic, minibatch

S = 1.0
# Of N(0, a^2) and N(0, b^2): W1 = |a - b| E|z|, W2^2 = (a - b)^2.
MEAN_ABSOLUTE = math.sqrt(2 / math.pi)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss(g: float, mu: float, squared: bool) -> float:
    """In closed form."""
    fidelity = (g**2 * (1 + S**2) - 2 * g + 1 + S**2) / (2 * S**2)
    gap = math.sqrt(g**2 * (1 + S**2) + S**2) - math.sqrt(1 + S**2)
    return fidelity + mu * (gap**2 if squared else abs(gap) * MEAN_ABSOLUTE)


def best(mu: float, squared: bool) -> float:
    found = minimize_scalar(lambda g: loss(g, mu, squared), bounds=(0, 1), method="bounded", options={"xatol": 1e-9})
    return float(found.x)


@pytest.mark.parametrize(
    ("mu", "squared", "expected"),
    [
        (0.0, False, 0.5),
        (1.0, False, 0.7071),
        (1.0, True, 0.5965),
        (0.1, False, 0.534),
        (0.1, True, 0.5148),
        (1e6, True, 0.7071),
    ],
)
def test_the_minima_are_those_that_are_known(mu: float, squared: bool, expected: float):
    """mu = 0 gives Wiener's 1 / (1 + s^2), a large mu (1 + s^2)^-1/2: the law, which is not the least error."""
    assert best(mu, squared) == pytest.approx(expected, abs=2e-3)


def halves(count: int, noise: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, 1, generator=noise)
    first, second = (x + S * torch.randn(count, 1, generator=noise) for _ in range(2))
    return first, second


@pytest.mark.parametrize("mu", [0.1, 1.0])
def test_a_transport_plan_finds_its_minimum(mu: float):
    """CryoGEN-II: the minibatch plan in place of W2^2; its own bias falls with the batch."""
    noise, g = rng(), nn.Parameter(torch.tensor(0.9))
    optimizer = torch.optim.Adam([g], 0.02)
    found = []
    for number in range(300):
        first, second = halves(256, noise)
        made = g * first + S * torch.randn(256, 1, generator=noise)
        cost = torch.cdist(made, second).square()
        plan = minibatch(-cost.detach()[:, None])[:, 0]
        value = (g * first - second).square().mean() / (2 * S**2) + mu * (plan * cost).sum() / len(cost)
        descend(optimizer, value)
        if number >= 150:
            found.append(float(g.detach()))
    assert sum(found) / len(found) == pytest.approx(best(mu, squared=True), abs=0.02)


def test_a_critic_finds_its_minimum():
    """CryoGEN-I at mu = .1: the critic's W1 in place of the distance."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(1, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    step = CriticStep(
        critic,
        torch.optim.Adam(critic.parameters(), 2e-3, betas=(0.0, 0.9)),
        penalty=Penalty(weight=10.0, one_sided=True),
    )
    objective, noise, g, mu = objectives.get("wasserstein"), rng(), nn.Parameter(torch.tensor(0.9)), 0.1
    optimizer = torch.optim.Adam([g], 0.01)
    found = []
    for number in range(500):
        for _ in range(2):
            first, second = halves(256, noise)
            step(second, (g * first + S * torch.randn(256, 1, generator=noise)).detach(), generator=noise)
        first, second = halves(256, noise)
        with frozen(list(critic.parameters())):
            made = g * first + S * torch.randn(256, 1, generator=noise)
            value = (g * first - second).square().mean() / (2 * S**2) + mu * verdict(objective, critic, made, None)
            descend(optimizer, value)
        if number >= 250:
            found.append(float(g.detach()))
    assert sum(found) / len(found) == pytest.approx(best(mu, squared=False), abs=0.02)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_entropic_weights_have_the_least_error_at_gamma_1(gamma: float):
    """CryoWGEN: the posterior mean is y / (1 + gamma s^2), Wiener's answer at gamma = 1."""
    noise = rng()
    y, candidates = torch.linspace(-2, 2, 9), torch.randn(100_000, generator=noise)
    weights = entropic(-((y[:, None] - candidates).square() / (2 * S**2))[:, None], gamma)[:, 0]
    torch.testing.assert_close(weights @ candidates, y / (1 + gamma * S**2), atol=0.03, rtol=0)
