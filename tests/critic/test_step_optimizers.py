"""Optimizers that hold none or only some of the critic's parameters, and those that CriticStep cannot step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from critics import CRITICS, Tied, assert_exact, mlp
from script_step import Script
from torch import Tensor, nn
from torch.nn import functional as F

from gpgan import CriticStep, Penalty

X = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
ALPHA = torch.full((4,), 0.25, dtype=torch.float64)
PATHS: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "scheduled": lambda critic: critic,
    "general": lambda critic: lambda x: critic(x),
}
SOME = "holds {} of the critic's {} parameter tensors that require grad"


def sgd(parameters: Any, rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rate)


# --- which parameters it holds


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("penalty", [None, Penalty(), Penalty(method="finite_difference")], ids=["no", "exact", "fd"])
def test_an_optimizer_of_another_network(path: str, penalty: Penalty | None) -> None:
    critic, other = mlp().double(), mlp().double()
    before = [p.detach().clone() for p in (*critic.parameters(), *other.parameters())]
    optimizer = sgd(other.parameters())
    step = CriticStep(PATHS[path](critic), optimizer, penalty=penalty)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"optimizer holds none of the critic's 6 parameter tensors.*parameters\(\)"
        ):
            step(X, -X)
    assert all(torch.equal(a, b) for a, b in zip(before, (*critic.parameters(), *other.parameters()), strict=True))
    optimizer.add_param_group({"params": list(critic.parameters())})
    step(X, -X)
    assert not torch.equal(before[0], critic[0].weight)


@pytest.mark.parametrize("path", PATHS)
def test_an_optimizer_of_some_parameters_is_said_once(path: str) -> None:
    critic = mlp().double()
    step = CriticStep(PATHS[path](critic), sgd(critic[2:].parameters()))
    with pytest.warns(UserWarning, match=SOME.format(4, 6)):
        step(X, -X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(X, -X)


@pytest.mark.parametrize("path", PATHS)
def test_frozen_and_unused_parameters_need_no_optimizer(path: str) -> None:
    critic = mlp().double()
    critic[0].requires_grad_(False)
    critic[2].unused = nn.Parameter(torch.ones(3))
    step = CriticStep(PATHS[path](critic), sgd([*critic[2].parameters(), *critic[4].parameters()]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(X, -X)
    assert critic[2].unused.grad is None


@pytest.mark.parametrize("path", PATHS)
def test_a_lazily_made_critic(path: str) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(1)).double()

    critic, other = make(), make()
    step = CriticStep(PATHS[path](critic), sgd(critic.parameters()))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="CriticStep")
        step(X, -X)
    wrong = CriticStep(PATHS[path](make()), sgd(other.parameters()))
    with pytest.raises(ValueError, match="holds none of the critic's 4"):
        wrong(X, -X)


@pytest.mark.parametrize("path", PATHS)
def test_a_critic_that_grows(path: str) -> None:
    critic = mlp().double()
    step = CriticStep(PATHS[path](critic), sgd(critic.parameters()))
    step(X, -X)
    critic.insert(0, nn.Linear(2, 2).double())
    with pytest.warns(UserWarning, match=SOME.format(6, 8)):
        step(X, -X)


def test_the_optimizer_of_the_whole_model_does_not_hold_a_copy() -> None:
    critic = mlp().double()
    averaged = torch.optim.swa_utils.AveragedModel(critic)
    for parameter in averaged.parameters():
        parameter.requires_grad_()
    with pytest.raises(ValueError, match="holds none of the critic's 6"):
        CriticStep(averaged, sgd(critic.parameters()))(X, -X)


class Sharded(nn.Module):
    """Computes with tensors that stand in for its parameters, and hands their gradients on, as FSDP does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        whole = self.weight.detach().requires_grad_()
        whole.register_post_accumulate_grad_hook(lambda each: setattr(self.weight, "grad", each.grad))
        return 2 * torch.tanh(F.linear(x, whole))


def test_stand_ins_for_parameters_are_not_missed() -> None:
    critic = Sharded()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CriticStep(critic, sgd(critic.parameters()), penalty=None)(X, -X)
    with pytest.raises(ValueError, match="holds none of the critic's 1"):
        CriticStep(Sharded(), sgd(critic.parameters()), penalty=None)(X, -X)


# --- gradients of those that it does not hold

OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "no penalty": {"penalty": None},
    "finite differences": {"penalty": Penalty(method="finite_difference")},
    "lazy": {"lazy": 2},
    "paired": {"objective": lambda real, fake: nn.functional.softplus(fake - real).mean()},
    "bfloat16": {"autocast": torch.bfloat16},
    "clipped": {"max_grad_norm": 1e-3},
}


@pytest.mark.filterwarnings("ignore:CriticStep's optimizer")
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("path", PATHS)
def test_every_gradient_is_new_at_every_step(path: str, name: str) -> None:
    """A critic that does not move, as its rate is 0, has the same gradients at every step."""
    critic = mlp().double()
    step = CriticStep(PATHS[path](critic), sgd(critic[2].parameters(), 0.0), **OPTIONS[name])
    seen = []
    for _ in range(3):
        step(X, -X, alpha=ALPHA)
        seen.append([p.grad for p in critic.parameters()])
    again = seen[2] if name == "lazy" else seen[1]
    for one, other in zip(seen[0], again, strict=True):
        assert one is not other
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:CriticStep's optimizer")
@pytest.mark.parametrize("path", PATHS)
def test_two_optimizers_of_one_critic(path: str) -> None:
    """The second updates its parameters after each step, as a script that zeroes the gradients of both."""
    ours, script = Tied().double(), Tied().double()
    script.load_state_dict(ours.state_dict())
    steps = []
    for critic, make in ((ours, CriticStep), (script, Script)):
        first, second = sgd(critic.first.parameters()), sgd([*critic.middle.parameters(), *critic.last.parameters()])
        steps.append((make(PATHS[path](critic), first), second))
    for _ in range(3):
        for step, second in steps:
            if isinstance(step, Script):
                second.zero_grad()
            step(X, -X, alpha=ALPHA)
            second.step()
        assert_exact(list(ours.parameters()), list(script.parameters()))


@pytest.mark.parametrize("path", PATHS)
def test_gradients_that_the_step_does_not_compute_are_left_alone(path: str) -> None:
    critic, generator = mlp().double(), mlp().double()
    critic[2].unused = nn.Parameter(torch.ones(3))
    kept = [critic[2].unused, *generator.parameters()]
    for parameter in kept:
        parameter.grad = torch.ones_like(parameter)
    step = CriticStep(PATHS[path](critic), sgd([p for p in critic.parameters() if p is not critic[2].unused]))
    step(X, generator(X).expand(4, 2))
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in kept)


# --- optimizers that cannot be stepped without a closure


class Needs(torch.optim.SGD):
    def step(self, closure: Any) -> None:  # type: ignore[override]
        super().step(closure)


class NeedsByName(torch.optim.SGD):
    def step(self, *, loss: Any) -> None:  # type: ignore[override]
        super().step()


class MayTake(torch.optim.SGD):
    def step(self, closure: Any = None, *more: Any, scale: float = 1.0, **rest: Any) -> None:  # type: ignore[override]
        super().step()


class Wrapper(torch.optim.Optimizer):
    """Hands everything on to another optimizer, as those of accelerate and ZeRO do."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner

    param_groups = property(lambda self: self.inner.param_groups)  # type: ignore[assignment]
    state = property(lambda self: self.inner.state)  # type: ignore[assignment]

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.inner.step()


@pytest.mark.parametrize(("make", "name", "argument"), [
    (torch.optim.LBFGS, "LBFGS", "closure"),
    (Needs, "Needs", "closure"),
    (NeedsByName, "NeedsByName", "loss"),
])  # fmt: skip
def test_an_optimizer_that_needs_an_argument_is_refused(make: Any, name: str, argument: str) -> None:
    critic = mlp()
    with pytest.raises(TypeError, match=rf"optimizer is a {name}, whose step\(\) requires {argument};"):
        CriticStep(critic, make(critic.parameters()))


@pytest.mark.parametrize("make", [
    sgd,
    MayTake,
    lambda parameters: Wrapper(sgd(parameters)),
    torch.optim.Rprop,
    torch.optim.ASGD,
    torch.optim.Adafactor,
])  # fmt: skip
@pytest.mark.parametrize("scheduled", [False, True], ids=["", "with a scheduler"])
def test_other_optimizers_and_wrappers_step(make: Any, scheduled: bool) -> None:
    critic = CRITICS["MLP"].build()
    optimizer = make(critic.parameters())
    before = critic[0].weight.detach().clone()
    if scheduled:  # it wraps optimizer.step
        torch.optim.lr_scheduler.ConstantLR(getattr(optimizer, "inner", optimizer))
    CriticStep(critic, optimizer)(X, -X)
    assert not torch.equal(before, critic[0].weight)
