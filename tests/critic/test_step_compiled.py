"""compile=True: the same updates, from programs that are traced once per batch shape and penalty."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from critics import CRITICS
from script_step import OBJECTIVES, compare
from torch import Tensor, nn

from gpgan import CriticStep, Penalty


def test_a_compiled_chain_with_lazy_penalty_and_another_objective() -> None:
    torch._dynamo.reset()
    step = compare(CRITICS["MLP"].build, (4, 2), compile=True, lazy=2, steps=4, objective=OBJECTIVES["hinge"])
    assert "scheduled" in step.plan
    assert "traced and compiled" in step.plan


def test_a_compiled_chain_with_a_joint_objective_a_penalty_at_both_and_clipped_weights() -> None:
    step = compare(
        CRITICS["MLP"].build,
        (4, 2),
        compile=True,
        steps=2,
        objective=OBJECTIVES["relativistic"],
        penalty=Penalty(weight=5.0, target=0.0, points="both"),
        max_weight=0.5,
    )
    assert "traced and compiled" in step.plan


def test_a_compiled_convolutional_critic() -> None:
    case = CRITICS["DCGAN"]
    step = compare(case.build, case.shape, compile=True, steps=2)
    assert "traced and compiled" in step.plan


def test_what_cannot_be_compiled_says_so_and_runs() -> None:
    case = CRITICS["GroupNorm"]
    step = compare(case.build, case.shape, compile=True, steps=2)
    assert step.plan.startswith("general")
    assert "not compiled" in step.plan


class Switched(nn.Module):
    """A chain that ends plainly, in a sum, or in a smooth function."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.end = CRITICS["MLP"].build(), "none"

    def forward(self, x: Tensor) -> Tensor:
        h = self.net(x)
        return torch.tanh(h) if self.end == "smooth" else h + h if self.end == "sum" else h


def steps_of(critic: Switched, ends: list[str]) -> list[str]:
    """The plan after each step. Every step has a new batch size, so that the critic's Python code runs again."""
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.0), compile=True)
    plans = []
    for number, critic.end in enumerate(ends):
        x = torch.randn(4 + number, 2, dtype=torch.float64)
        step(x, -x)
        plans.append(step.plan)
    return plans


def test_a_compiled_critic_that_becomes_smooth_says_that_it_is_no_longer_compiled() -> None:
    first, second = steps_of(Switched(), ["none", "smooth"])
    assert "traced and compiled" in first
    assert second.startswith("general path")
    assert "tanh" in second
    assert "not compiled: torch.compile has no double backward" in second


def test_a_compiled_critic_that_becomes_another_chain_is_compiled_again() -> None:
    assert all("traced and compiled" in plan for plan in steps_of(Switched(), ["none", "sum"]))


def test_a_reason_not_to_compile_is_told_as_long_as_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any, **__: Any) -> None:
        raise RuntimeError("there is no compiler")

    monkeypatch.setattr("torch._inductor.compile", no_compiler)
    for plan, path in zip(steps_of(Switched(), ["none", "sum", "smooth", "none"]), "ssgg", strict=True):
        assert plan[0] == path
        assert "not compiled: there is no compiler" in plan
        assert plan.count("not compiled") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU the step may be captured")
def test_without_a_gpu_there_is_no_graph_and_the_plan_says_so() -> None:
    case = CRITICS["MLP"]
    critic = case.build()
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1), cuda_graph=True)
    before = critic[0].weight.detach().clone()
    step(*case.samples()[:2])
    assert "no CUDA graph" in step.plan
    assert not torch.equal(before, critic[0].weight)


def test_a_graph_and_a_compilation_that_fail_are_both_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoGraphs:
        def __init__(self, *_: Any) -> None: ...

        def __call__(self, *_: Any) -> None:
            raise RuntimeError("the capture failed\nand here is more of it")

    def no_compiler(*_: Any, **__: Any) -> None:
        raise RuntimeError("there is no compiler")

    monkeypatch.setattr("gpgan.critic.plan.CudaGraphs", NoGraphs)
    monkeypatch.setattr("gpgan.critic.cuda_graph.why_not", lambda *_: None)
    monkeypatch.setattr("torch._inductor.compile", no_compiler)
    case = CRITICS["MLP"]
    critic = case.build()
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1), compile=True, cuda_graph=True)
    before = critic[0].weight.detach().clone()
    step(*case.samples()[:2])
    assert not torch.equal(before, critic[0].weight)
    assert step.plan.startswith("scheduled path")
    assert "not compiled: there is no compiler" in step.plan
    assert step.plan.endswith("no CUDA graph: the capture failed")
