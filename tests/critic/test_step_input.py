"""The inputs that CriticStep refuses, and the error messages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from critics import CRITICS
from torch import Tensor, nn

import gpgan
from gpgan import CriticStep, Penalty

NET = nn.Linear(2, 1)
OPTIMIZER = torch.optim.SGD(NET.parameters(), lr=0.1)
X = torch.randn(4, 2)


@pytest.mark.parametrize(("given", "error", "words"), [
    ({"critic": 3}, TypeError, ["critic", "int", "callable"]),
    ({"optimizer": [NET.weight]}, TypeError, ["optimizer", "list", "torch.optim.Optimizer"]),
    ({"penalty": 10.0}, TypeError, ["penalty", "float", "Penalty(weight=10.0)"]),
    ({"objective": "hinge"}, TypeError, ["objective", "str", "pair", "real_term, fake_term", 'get("hinge")']),
    ({"objective": (torch.mean, torch.mean, torch.mean)}, TypeError, ["objective", "pair"]),
    ({"objective": ("hinge", "hinge")}, TypeError, ["objective", "functions"]),
    ({"lazy": 0}, ValueError, ["lazy", "0", "1 or above"]),
    ({"lazy": 2.0}, ValueError, ["lazy", "2.0", "whole number"]),
    ({"lazy": True}, ValueError, ["lazy", "True"]),
    ({"max_grad_norm": 0.0}, ValueError, ["max_grad_norm", "0.0", "above 0"]),
    ({"max_grad_norm": float("inf")}, ValueError, ["max_grad_norm", "inf", "finite"]),
    ({"max_grad_norm": "1"}, TypeError, ["max_grad_norm", "str"]),
    ({"max_weight": 0.0}, ValueError, ["max_weight", "0.0", "above 0"]),
    ({"max_weight": float("nan")}, ValueError, ["max_weight", "nan", "finite"]),
    ({"max_weight": True}, TypeError, ["max_weight", "bool", "number"]),
    ({"autocast": torch.float16}, ValueError, ["autocast", "float16", "bfloat16"]),
    ({"autocast": True}, ValueError, ["autocast", "True", "bfloat16"]),
    ({"process_group": "world"}, TypeError, ["process_group", "str", "ProcessGroup"]),
])  # fmt: skip
def test_arguments(given: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    arguments = {"critic": NET, "optimizer": OPTIMIZER} | given
    critic, optimizer = arguments.pop("critic"), arguments.pop("optimizer")
    with pytest.raises(error) as raised:
        CriticStep(critic, optimizer, **arguments)
    assert [word for word in words if word not in str(raised.value)] == []


@pytest.mark.parametrize(("given", "error", "words"), [
    ({"weight": -1.0}, ValueError, ["weight", "-1.0", "zero or above"]),
    ({"weight": "10"}, TypeError, ["weight", "str", "float"]),
    ({"target": float("nan")}, ValueError, ["target", "nan", "finite"]),
    ({"points": "beside"}, ValueError, ["points", "beside", "'between'", "'both'", "'noisy'"]),
    ({"method": "magic"}, ValueError, ["method", "magic", "'exact'"]),
    ({"second_order": "third"}, ValueError, ["second_order", "third", "'pruned'", "'stock'"]),
    ({"impl": "fast"}, ValueError, ["impl", "fast", "'native'"]),
])  # fmt: skip
def test_penalties(given: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as raised:
        Penalty(**given)
    assert [word for word in words if word not in str(raised.value)] == []


def test_a_penalty_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Penalty().weight = 3.0  # type: ignore[misc]
    assert gpgan.Penalty is Penalty
    assert Penalty(weight=1).weight == 1


@pytest.mark.parametrize("function", [False, True], ids=["module", "function"])
@pytest.mark.parametrize(("call", "error", "words"), [
    ({"real": X.numpy()}, TypeError, ["real", "ndarray", "torch.Tensor"]),
    ({"real": X.long()}, TypeError, ["real", "int64", "float32"]),
    ({"real": torch.tensor(1.0)}, ValueError, ["real", "scalar", "[B, ...]"]),
    ({"fake": X[:3]}, ValueError, ["fake", "(3, 2)", "(4, 2)", "same shape"]),
    ({"fake": X.double()}, TypeError, ["fake", "float64", "float32"]),
    ({"real": X[:0], "fake": X[:0]}, ValueError, ["real", "(0, 2)", "empty batch"]),
    ({"alpha": torch.rand(3)}, ValueError, ["alpha", "(3,)", "(4,)"]),
    ({"alpha": torch.rand(4) + 1}, ValueError, ["alpha", "[0, 1]"]),
    ({"alpha": 0.5}, TypeError, ["alpha", "float", "torch.Tensor"]),
    ({"generator": 3}, TypeError, ["generator", "int", "torch.Generator"]),
    ({"critic_args": torch.zeros(4)}, TypeError, ["critic_args", "tuple"]),
    ({"critic_args": (torch.zeros(3),)}, ValueError, ["critic_args[0]", "(3,)", "4"]),
    ({"critic_kwargs": {"y": torch.zeros(1, 2)}}, ValueError, ["critic_kwargs['y']", "(1, 2)", "4"]),
])  # fmt: skip
def test_samples(function: bool, call: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    net = nn.Linear(2, 1)
    before = net.weight.detach().clone()
    step = CriticStep((lambda x, *_, **__: net(x)) if function else net, torch.optim.SGD(net.parameters(), lr=0.1))
    arguments = {"real": X, "fake": -X} | call
    with pytest.raises(error) as raised:
        step(arguments.pop("real"), arguments.pop("fake"), **arguments)
    assert [word for word in words if word not in str(raised.value)] == []
    assert torch.equal(net.weight, before)


class Returns(nn.Module):
    def __init__(self, what: Any) -> None:
        super().__init__()
        self.net, self.what = nn.Linear(2, 1), what

    def forward(self, x: Tensor) -> Any:
        return self.what(self.net(x), x)


NO_SCORES: dict[str, tuple[Any, type[Exception], list[str]]] = {
    "tuple": (lambda s, x: (s, s), TypeError, ["critic", "tuple", "out[0]"]),
    "dict": (lambda s, x: {"score": s}, TypeError, ["critic", "dict", "out['score']"]),
    "integers": (lambda s, x: s.detach().long(), TypeError, ["critic", "int64", "floating point"]),
    "mean": (lambda s, x: s.mean(), ValueError, ["critic", "()", "[4, ...]"]),
    "row": (lambda s, x: s.t(), ValueError, ["critic", "(1, 4)", "[4, ...]"]),
    "twice as many": (lambda s, x: torch.cat([s, s]), ValueError, ["critic", "(8, 1)", "[4, ...]"]),
}


@pytest.mark.parametrize("function", [False, True], ids=["module", "function"])
@pytest.mark.parametrize("penalty", [Penalty(), None], ids=["penalty", "no penalty"])
@pytest.mark.parametrize("name", NO_SCORES)
def test_what_the_critic_returns(function: bool, penalty: Penalty | None, name: str) -> None:
    what, error, words = NO_SCORES[name]
    net = Returns(what)
    critic = (lambda x: net(x)) if function else net
    step = CriticStep(critic, torch.optim.SGD(net.parameters(), lr=0.1), penalty=penalty)
    with pytest.raises(error) as raised:
        step(X, -X)
    assert [word for word in words if word not in str(raised.value)] == []


@pytest.mark.parametrize("function", [False, True], ids=["module", "function"])
@pytest.mark.parametrize("what", [lambda s, x: s.detach(), lambda s, x: torch.ones(4, 1)], ids=["detached", "constant"])
def test_scores_that_depend_on_nothing(function: bool, what: Any) -> None:
    net = Returns(what)
    step = CriticStep((lambda x: net(x)) if function else net, torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="do not depend on"):
        step(X, -X)


@pytest.mark.parametrize("function", [False, True], ids=["module", "function"])
@pytest.mark.parametrize("term", [lambda s: s, lambda s: s.mean().item(), lambda s: s.mean(0)])
def test_what_a_term_returns(function: bool, term: Any) -> None:
    net = nn.Linear(2, 1)
    step = CriticStep(
        (lambda x: net(x)) if function else net,
        torch.optim.SGD(net.parameters(), lr=0.1),
        objective=(lambda s: -s.mean(), term),
    )
    with pytest.raises(ValueError, match=r"objective's fake term returned .*expected a 0-d Tensor"):
        step(X, -X)


@pytest.mark.parametrize("function", [False, True], ids=["module", "function"])
@pytest.mark.parametrize("joint", [lambda r, f: f - r, lambda r, f: (f - r).mean().item()])
def test_what_a_joint_objective_returns(function: bool, joint: Any) -> None:
    net = nn.Linear(2, 1)
    step = CriticStep(
        (lambda x: net(x)) if function else net, torch.optim.SGD(net.parameters(), lr=0.1), objective=joint
    )
    with pytest.raises(ValueError, match=r"^objective returned .*expected a 0-d Tensor"):
        step(X, -X)


@pytest.mark.parametrize("name", gpgan.objectives.OBJECTIVES)
@pytest.mark.parametrize("function", [False, True], ids=["module", "function"])
def test_an_objective_is_as_good_as_its_critic(function: bool, name: str) -> None:
    objective = gpgan.objectives.get(name)
    weights, losses = [], []
    for given in (objective, objective.critic):
        torch.manual_seed(1)
        net = nn.Linear(2, 1)
        step = CriticStep(
            (lambda x, n=net: n(x)) if function else net, torch.optim.SGD(net.parameters(), lr=0.1), objective=given
        )
        losses.append(step(X, -X, alpha=torch.full((4,), 0.5)).loss)
        weights.append(net.weight.detach())
    assert torch.equal(*weights)
    assert torch.equal(*losses)


def test_batch_norm_in_training_mode() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"BatchNorm in training mode.*allow_batch_coupling=True"):
        CriticStep(net, optimizer)(X, -X)
    step = CriticStep(net, optimizer, penalty=Penalty(allow_batch_coupling=True))
    step(X, -X)
    assert step.plan.startswith("general")
    net.eval()
    CriticStep(net, optimizer)(X, -X)


@pytest.mark.parametrize("name", ["MLP", "GroupNorm"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_mode_off(name: str, mode: Any) -> None:
    """Without gradients there is either an error or a correct update, but never a step that silently does nothing."""
    critic = CRITICS[name].build()
    before = [p.detach().clone() for p in critic.parameters()]
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1))
    real, fake, alpha = CRITICS[name].samples()
    words = ""
    with mode():
        try:
            step(real, fake, alpha=alpha)
        except RuntimeError as error:
            words = str(error)
    moved = any(not torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))
    assert moved != ("grad" in words)
