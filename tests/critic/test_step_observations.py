"""What a step sees in its scores: bounded critics, samples that are not finite."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from gpgan import CriticStep, objectives
from gpgan.objectives import OBJECTIVES

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


def step_of(critic: nn.Module, **options: object) -> CriticStep:
    return CriticStep(critic, torch.optim.SGD(critic.parameters(), 0.1), **options)


def critic(*last: nn.Module, scores: int = 1, activation: type[nn.Module] = nn.LeakyReLU) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), activation(), nn.Linear(8, scores), *last)


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name != "least-squares"])
def test_a_sigmoid_is_told_under_every_objective_of_raw_scores(objective: str) -> None:
    step = step_of(critic(nn.Sigmoid()), objective=objectives.get(objective))
    with pytest.warns(
        UserWarning, match="ends in a sigmoid, whose scores are bounded, but the objective expects raw scores"
    ):
        step(X, -X)


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(1).unsqueeze(1).view(len(x))


@pytest.mark.parametrize(
    ("last", "name"),
    [
        ((nn.Tanh(),), "tanh"),
        ((nn.Hardsigmoid(),), "hardsigmoid"),
        ((nn.Sigmoid(), Flat()), "sigmoid"),
        ((nn.Sigmoid(), nn.Unflatten(1, (1, 1)), nn.Flatten(1)), "sigmoid"),
    ],
)
def test_its_kin_and_what_only_passes_it_on(last: tuple[nn.Module, ...], name: str) -> None:
    with pytest.warns(UserWarning, match=f"ends in a {name},"):
        step_of(critic(*last), penalty=None)(X, -X)


def test_softmax() -> None:
    with pytest.warns(UserWarning, match="ends in a softmax,"):
        step_of(critic(nn.Softmax(1), scores=2), penalty=None)(X, -X)


def test_what_is_not_told() -> None:
    own = (lambda scores: -scores.log().mean(), lambda scores: -(1 - scores).log().mean())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step_of(critic(nn.Sigmoid()), objective=objectives.get("least-squares"))(X, -X)
        step_of(critic(nn.Sigmoid()), objective=own)(X, -X)
        step_of(critic(nn.Sigmoid(), nn.Linear(1, 1)))(X, -X)
        step_of(critic(activation=nn.Sigmoid))(X, -X)


@pytest.mark.parametrize("where", ["real", "fake"])
@pytest.mark.parametrize(
    ("activation", "bad"),
    [(each, bad) for each in (nn.LeakyReLU, nn.ReLU) for bad in (math.nan, math.inf, -math.inf)]
    + [(nn.Tanh, math.nan)],
)
def test_samples_that_are_not_finite_are_refused_before_the_update(
    activation: type[nn.Module], where: str, bad: float
) -> None:
    net = critic(activation=activation)
    step = step_of(net)
    step(X, -X)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    batch = {"real": X.clone(), "fake": -X}
    batch[where][1:3, 2] = bad
    with pytest.raises(ValueError, match=f"{where} holds NaN or infinite values in 2 of 4 samples.*as they were"):
        step(**batch)
    assert all(map(torch.equal, before, net.parameters()))
    step(X, -X)
    assert all(parameter.isfinite().all() for parameter in net.parameters())


def test_scores_that_overflow_are_the_callers_to_see() -> None:
    net = critic()
    with torch.no_grad():
        net[-1].bias.fill_(math.inf)
    assert not step_of(net, penalty=None)(X, -X).loss.isfinite()
