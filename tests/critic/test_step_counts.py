"""Floating-point operations of a step, in units of one forward of the critic over a batch, and the plan's count."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from critics import CRITICS, PaperResNet, dcgan, operations, pool_by_average, pool_by_slices
from torch import Tensor, nn

from gpgan import CriticStep, Penalty
from gpgan.nn import MLPCritic
from gpgan.objectives import get

# A critic, the shape of a batch, and the upper limit of a step.
TABLE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "MLP": (lambda: MLPCritic((2,), 512, 3), (16, 2), 10.01),
    "DCGAN": (lambda: dcgan(32, 4, 64), (1, 3, 64, 64), 9.90),
    "ResNet, average pooling": (lambda: PaperResNet(16, pool_by_average), (2, 3, 32, 32), 10.1),
    "ResNet, slices": (lambda: PaperResNet(16, pool_by_slices), (2, 3, 32, 32), 10.1),
}


def forwards_of(critic: nn.Module, shape: tuple[int, ...], general: bool, **options: object) -> tuple[float, str]:
    """The second step's operations divided by those of one forward, and the plan."""
    wrapped: Callable[[Tensor], Tensor] = (lambda x: critic(x)) if general else critic
    step = CriticStep(wrapped, torch.optim.SGD(critic.parameters(), lr=0.0), **options)
    real, fake = torch.randn(shape), torch.randn(shape)
    step(real, fake)
    taken = operations(lambda: step(real, fake))
    with torch.no_grad():
        return taken / operations(lambda: critic(real)), step.plan


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("general", [False, True], ids=["scheduled", "general"])
def test_a_penalised_step(name: str, general: bool) -> None:
    make, shape, most = TABLE[name]
    taken, plan = forwards_of(make(), shape, general)
    assert taken <= most
    assert plan.startswith("general" if general else "scheduled")
    told = float(re.search(r"(\d+\.\d+)F", plan).group(1))
    assert abs(told - taken) <= 0.011


@pytest.mark.parametrize("general", [False, True], ids=["scheduled", "general"])
def test_a_step_without_penalty(general: bool) -> None:
    make, shape, _ = TABLE["MLP"]
    # Three times two forwards, less the gradient of the first layer's input.
    assert 5.9 < forwards_of(make(), shape, general, penalty=None)[0] <= 6.0
    assert 5.9 < forwards_of(make(), shape, general, lazy=2)[0] <= 6.0


@pytest.mark.parametrize("name", ["MLP", "DCGAN"])
@pytest.mark.parametrize("general", [False, True], ids=["scheduled", "general"])
def test_a_penalty_at_both_costs_one_batch_of_points_more(name: str, general: bool) -> None:
    """Another batch of points costs four forwards, as the first does. The plan still counts in forwards over B."""
    make, shape, most = TABLE[name]
    penalty = Penalty(weight=1.0, target=0.0, points="both")
    taken, plan = forwards_of(make(), shape, general, penalty=penalty)
    one, _ = forwards_of(make(), shape, general)
    assert one + 3.8 < taken <= most + 4.01
    assert abs(float(re.search(r"(\d+\.\d+)F", plan).group(1)) - taken) <= 0.011


@pytest.mark.parametrize("general", [False, True], ids=["scheduled", "general"])
def test_a_joint_objective_costs_nothing_more(general: bool) -> None:
    make, shape, _ = TABLE["MLP"]
    joint = forwards_of(make(), shape, general, objective=get("relativistic").critic)[0]
    assert joint == forwards_of(make(), shape, general)[0]


def test_stock_second_order_costs_more() -> None:
    make, shape, _ = TABLE["MLP"]
    assert forwards_of(make(), shape, True, penalty=Penalty(second_order="stock"))[0] > 11.9


@pytest.mark.parametrize("frozen", [1, 3])
def test_frozen_layers_cost_less(frozen: int) -> None:
    make, shape, most = TABLE["MLP"]
    critic = make()
    for parameter in list(critic.parameters())[: 2 * frozen]:
        parameter.requires_grad_(False)
    taken = {general: forwards_of(critic, shape, general)[0] for general in (False, True)}
    # The first layer is small. The two hidden layers are half of F each, and each has a weight gradient of 3B rows.
    assert taken[False] <= taken[True] + 0.01
    assert taken[True] < most - (2.9 if frozen == 3 else 0)


@pytest.mark.parametrize("name", ["GroupNorm", "mixed activations", "LSTM", "self-attention"])
def test_the_general_path_tells_its_count_or_that_it_has_none(name: str) -> None:
    case = CRITICS[name]
    critic = case.build(torch.float32)
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.0))
    step(*case.samples(torch.float32)[:2])
    told = re.search(r"(\d+\.\d+)F", step.plan)
    # torch has no formula for the one operator of an LSTM's forward, but has formulas for those of its backward.
    assert "not counted" in step.plan if told is None else 6 < float(told.group(1)) < 14
    assert told is not None or name == "LSTM"
