"""The pruned penalty of whole critics: gradients and forward values equal those of stock autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from against_stock import assert_same
from critics import CRITICS, assert_exact, parameter_grads, script_penalty
from torch import Tensor, nn

from gpgan import gradient_penalty


def critic_loss(critic: nn.Module, real: Tensor, fake: Tensor, args: tuple[Tensor, ...]) -> Tensor:
    return critic(fake, *args).mean() - critic(real, *args).mean()


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("alone", [True, False], ids=["penalty alone", "whole loss"])
def test_gradients_are_those_of_a_script_without_gpgan(name: str, alone: bool) -> None:
    case = CRITICS[name]
    (real, fake, alpha), args = case.samples(), case.args()
    script = case.build()
    ours = copy.deepcopy(script)

    wanted = script_penalty(script, real, fake, alpha, args)
    got = gradient_penalty(ours, real, fake, alpha=alpha, critic_args=args)
    assert_exact([got], [wanted])
    if not alone:
        wanted = wanted + critic_loss(script, real, fake, args)
        got = got + critic_loss(ours, real, fake, args)
    assert_exact(parameter_grads(ours, got), parameter_grads(script, wanted))
    # Power iterations and other changes that a forward makes to a module.
    for mine, theirs in zip(ours.buffers(), script.buffers(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("options", [
    {"target": 0.0, "weight": 0.5},
    {"one_sided": True, "target": 0.02, "reduction": "sum"},
], ids=["R1", "one-sided"])  # fmt: skip
def test_gradients_are_those_of_stock(name: str, options: dict[str, float]) -> None:
    case = CRITICS[name]
    assert_same(case.build, case.samples()[0], case.args(), **options)


@pytest.mark.parametrize("name", ["DCGAN", "ResNet, slices", "mixture"])
def test_channels_last(name: str) -> None:
    case = CRITICS[name]
    x = case.samples()[0].contiguous(memory_format=torch.channels_last)
    assert_same(lambda: case.build().to(memory_format=torch.channels_last), x, case.args())


@pytest.mark.parametrize("name", ["MLP", "mixture"])
def test_frozen_parameters_stay_out_of_it(name: str) -> None:
    case = CRITICS[name]

    def make() -> nn.Module:
        critic = case.build()
        for parameter in list(critic.parameters())[::2]:
            parameter.requires_grad_(False)
        return critic

    real, fake, alpha = case.samples()
    grads = []
    for second_order in ("pruned", "stock"):
        critic = make()
        penalty = gradient_penalty(critic, real, fake, alpha=alpha, critic_args=case.args(), second_order=second_order)
        (penalty + critic_loss(critic, real, fake, case.args())).backward()
        assert all(p.grad is None for p in list(critic.parameters())[::2])
        grads.append([p.grad for p in list(critic.parameters())[1::2] if p.grad is not None])
    assert len(grads[0]) > 0
    assert_exact(*grads)


@pytest.mark.parametrize("name", ["MLP", "DCGAN", "ResNet, average pooling", "projection"])
def test_penalty_alone_gives_every_parameter_a_gradient(name: str) -> None:
    case = CRITICS[name]
    critic = case.build()
    critic.unrelated = nn.Parameter(torch.ones(2))
    real, fake, alpha = case.samples()
    gradient_penalty(critic, real, fake, alpha=alpha, critic_args=case.args()).backward()
    assert critic.unrelated.grad is None
    missing = [name for name, p in critic.named_parameters() if p.grad is None and name != "unrelated"]
    assert missing == []
    biases = [p.grad for name, p in critic.named_parameters() if name.endswith("bias")]
    assert biases
    assert all(not grad.any() for grad in biases)


def test_gradient_of_what_is_handed_to_the_critic() -> None:
    case = CRITICS["DCGAN"]
    (real, fake, alpha), critic = case.samples(), case.build()
    condition = torch.rand(4, 3, 1, 1, dtype=torch.float64).requires_grad_()
    grads = [
        torch.autograd.grad(
            gradient_penalty(
                lambda x, c: critic(x * c),
                real,
                fake,
                alpha=alpha,
                critic_kwargs={"c": condition},
                second_order=second_order,
            ),
            condition,
        )
        for second_order in ("pruned", "stock")
    ]
    assert grads[1][0].any()
    assert_exact(*grads)


@pytest.mark.parametrize("name", ["DCGAN", "ResNet, average pooling", "mixture"])
def test_autocast_is_as_near_as_stock_autocast(name: str) -> None:
    case = CRITICS[name]
    exact_case = case.samples(torch.float64), case.build(torch.float64)
    (real, fake, alpha), exact = exact_case
    wanted = torch.cat(
        [g.flatten() for g in parameter_grads(exact, script_penalty(exact, real, fake, alpha, case.args()))]
    )
    errors = {}
    for second_order in ("pruned", "stock"):
        critic = case.build(torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            penalty = gradient_penalty(
                critic,
                real.float(),
                fake.float(),
                alpha=alpha.float(),
                critic_args=case.args(),
                second_order=second_order,
            )
        grads = parameter_grads(critic, penalty)
        assert {g.dtype for g in grads} == {torch.float32}
        errors[second_order] = float((torch.cat([g.flatten() for g in grads]).double() - wanted).norm())
    assert 0 < errors["pruned"] <= 2 * errors["stock"] < float(wanted.norm())
