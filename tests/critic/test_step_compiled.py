"""compile=True: the same updates, from programs that are traced once for each kind of step."""

from __future__ import annotations

import pytest
import torch
from critics import CRITICS
from script_step import OBJECTIVES, compare

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


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU the step may be captured")
def test_without_a_gpu_there_is_no_graph_and_the_plan_says_so() -> None:
    case = CRITICS["MLP"]
    critic = case.build()
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1), cuda_graph=True)
    before = critic[0].weight.detach().clone()
    step(*case.samples()[:2])
    assert "no CUDA graph" in step.plan
    assert not torch.equal(before, critic[0].weight)
