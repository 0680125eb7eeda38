"""A critic that begins in place gets tensors of its own: nothing of the caller's changes, and the gradients are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from critics import assert_exact
from torch import Tensor, nn
from torch.nn import functional as F

from gpgan import CriticStep, Penalty, gradient_penalty

BATCH, LABELS = 4, torch.tensor([0, 1, 2, 0])
# How a critic begins: in place, and the same without.
BEGINNINGS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2, inplace=True), lambda x: F.leaky_relu(x, 0.2)),
    "leaky_relu, on a view": (
        lambda x: F.leaky_relu(x.view(-1, 5), 0.2, inplace=True),
        lambda x: F.leaky_relu(x, 0.2),
    ),
    "hardtanh": (F.hardtanh_, F.hardtanh),
    "abs": (torch.abs_, torch.abs),
    "a factor": (lambda x: x.mul_(2), lambda x: x * 2),
    "a difference": (lambda x: x.__isub__(0.5), lambda x: x - 0.5),
    "an element": (lambda x: x.index_fill_(1, torch.tensor([0]), 0.0), lambda x: x * torch.tensor([0.0, 1, 1, 1, 1])),
}


class Critic(nn.Module):
    """Changes its samples, and its labels if there are any, in place or not."""

    def __init__(self, begin: Callable[[Tensor], Tensor], last: nn.Module, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.begin, self.in_place = begin, in_place
        self.labels = nn.Embedding(4, 5)
        self.net = nn.Sequential(nn.Linear(5, 8), last, nn.Linear(8, 1))
        self.double()

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.begin(x)
        if y is not None:
            y = y.add_(1) if self.in_place else y + 1
            x = x + self.labels(y)
        return self.net(x)


def pair(name: str, last: nn.Module) -> tuple[Critic, Critic]:
    return tuple(Critic(begin, last, begin is BEGINNINGS[name][0]) for begin in BEGINNINGS[name])  # type: ignore[return-value]


def samples() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    real, fake, points = torch.randn(3, BATCH, 5, dtype=torch.float64, generator=rng)
    return {"real": real, "fake": fake, "points": points, "labels": LABELS.clone(), "alpha": torch.rand(BATCH).double()}


def gradients(critic: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in critic.parameters()]


OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "no penalty": {"penalty": None},
    "lazy": {"lazy": 2},
    "weight 0": {"penalty": Penalty(weight=0.0)},
    "stock": {"penalty": Penalty(second_order="stock")},
    "both": {"penalty": Penalty(points="both", target=0.0)},
    "real": {"penalty": Penalty(points="real")},
    "finite differences": {"penalty": Penalty(method="finite_difference")},
    "paired": {"objective": lambda real, fake: F.softplus(fake - real).mean()},
    "bfloat16": {"autocast": torch.bfloat16},
}


def check_step(name: str, options: str, last: nn.Module, as_function: bool, labels: bool) -> None:
    given, kept, found = samples(), samples(), []
    kept["alpha"] = given["alpha"].clone()
    args = (given["labels"],) if labels else ()
    for critic in pair(name, last):
        step = CriticStep(
            (lambda *a, critic=critic: critic(*a)) if as_function else critic,
            torch.optim.SGD(critic.parameters(), lr=0.01),
            **OPTIONS[options],
        )
        for _ in range(2):
            step(given["real"], given["fake"], alpha=given["alpha"], critic_args=args)
        found.append([*gradients(critic), *critic.parameters()])
    assert all(torch.equal(given[key], kept[key]) for key in given)
    assert_exact(*found, 1e-2 if options == "bfloat16" else 1e-8)


@pytest.mark.parametrize("name", BEGINNINGS)
@pytest.mark.parametrize("options", ["", "no penalty", "finite differences"])
def test_every_beginning(name: str, options: str) -> None:
    for last in (nn.LeakyReLU(0.2), nn.Tanh()):  # without the beginning, one would be scheduled
        check_step(name, options, last, as_function=False, labels=False)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("labels", [False, True], ids=["", "labels"])
@pytest.mark.parametrize("as_function", [False, True], ids=["module", "function"])
def test_every_option(options: str, labels: bool, as_function: bool) -> None:
    check_step("leaky_relu", options, nn.LeakyReLU(0.2), as_function, labels)


@pytest.mark.parametrize("points", ["between", "real", "fake", "both", "noisy", "given"])
@pytest.mark.parametrize("method", ["exact", "finite_difference"])
@pytest.mark.parametrize("name", BEGINNINGS)
def test_the_drop_in(points: str, method: str, name: str) -> None:
    given, kept, found = samples(), samples(), []
    kept["alpha"] = given["alpha"].clone()
    for critic in pair(name, nn.Tanh()):
        value = gradient_penalty(
            critic,
            given["real"],
            given["fake"],
            points=given["points"] if points == "given" else points,
            alpha=given["alpha"],
            generator=torch.Generator().manual_seed(7),
            critic_kwargs={"y": given["labels"]},
            method=method,
        )
        value.backward()
        found.append([value, *gradients(critic)])
    assert all(torch.equal(given[key], kept[key]) for key in given)
    assert_exact(*found, 1e-7)


def test_an_argument_keeps_its_gradient() -> None:
    shift = torch.ones(BATCH, 5, dtype=torch.float64, requires_grad=True)
    critic = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    value = gradient_penalty(lambda x, s: critic(x.mul_(s)), *list(samples().values())[:2], critic_args=(shift,))
    value.backward()
    assert torch.equal(shift, torch.ones_like(shift))
    assert float(shift.grad.abs().sum()) > 0


def test_a_schedule_that_begins_to_work_in_place() -> None:
    """The batch of a scheduled step is a copy too; a change in place ends the schedule."""

    class Switched(Critic):
        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return self.net(F.relu_(x) if self.in_place else x)

    critic = Switched(torch.abs, nn.ReLU(), False)
    given, kept = samples(), samples()
    step = CriticStep(critic, torch.optim.SGD(critic.net.parameters(), lr=0.01))
    step(given["real"], given["fake"])
    assert step.plan.startswith("scheduled")
    critic.in_place = True
    step(given["real"], given["fake"])
    assert step.plan.startswith("general")
    assert all(torch.equal(given[key], kept[key]) for key in ("real", "fake"))


def test_it_is_not_compiled() -> None:
    critic, _ = pair("leaky_relu", nn.LeakyReLU(0.2))
    given, kept = samples(), samples()
    step = CriticStep(critic, torch.optim.SGD(critic.net.parameters(), lr=0.01), compile=True)
    step(given["real"], given["fake"])
    assert "not compiled" in step.plan
    assert all(torch.equal(given[key], kept[key]) for key in ("real", "fake"))


@pytest.mark.parametrize("beginning", [0, 1], ids=["in place", "not in place"])
def test_a_compiled_critic(beginning: int) -> None:
    """Finite differences run it compiled; the exact penalty does not."""
    torch._dynamo.reset()
    found = []
    for method in ("exact", "finite_difference"):
        critic = torch.compile(pair("leaky_relu", nn.Tanh())[beginning], backend="aot_eager")
        given, kept = samples(), samples()
        alpha = torch.full((BATCH,), 0.5, dtype=torch.float64)
        value = gradient_penalty(critic, given["real"], given["fake"], alpha=alpha, method=method)
        value.backward()
        assert all(torch.equal(given[key], kept[key]) for key in ("real", "fake"))
        found.append([value, *gradients(critic)])
    assert_exact(*found, 1e-3)  # a difference may cross the kinks inside a compiled critic
