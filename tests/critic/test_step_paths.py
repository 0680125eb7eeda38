"""Which path a critic takes; and every path follows changes of the critic between and within steps."""

from __future__ import annotations

import contextlib
import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from critic_forwards import ANY_PATH, COUPLED, SCHEDULED, Parts, saved_value_changed
from critics import CRITICS, Tied, assert_exact, dcgan
from script_step import Script, compare
from torch import Tensor, nn
from torch.nn import functional as F

from gpgan import CriticStep, Penalty


@pytest.mark.parametrize("name", SCHEDULED | ANY_PATH | COUPLED)
def test_forwards_of_every_kind(name: str) -> None:
    forward = (SCHEDULED | ANY_PATH | COUPLED)[name]
    step = compare(lambda: Parts(forward), (4, 6), penalty=Penalty(allow_batch_coupling=name in COUPLED))
    assert step.plan.startswith("scheduled") or name not in SCHEDULED
    assert step.plan.startswith("general") or name not in COUPLED


def test_the_plan_says_which_path_and_why() -> None:
    def plan(critic: Callable[..., Tensor], parameters: Any, x: Tensor, **options: Any) -> str:
        step = CriticStep(critic, torch.optim.SGD(parameters, lr=0.1))
        step(x, -x, **options)
        return step.plan

    net, x = CRITICS["MLP"].build(), torch.randn(4, 2, dtype=torch.float64)
    assert plan(net, net.parameters(), x).startswith("scheduled path")
    assert "nn.Module" in plan(lambda x: net(x), net.parameters(), x)
    for name, word in (
        ("GroupNorm", "group_norm"),
        ("mixed activations", "silu"),
        ("weight_norm", "not a plain parameter"),
    ):
        critic = CRITICS[name].build()
        told = plan(critic, critic.parameters(), CRITICS[name].samples()[0])
        assert told.startswith("general path")
        assert word in told
        assert "F" in told
    case = CRITICS["projection"]
    critic = case.build()
    assert plan(critic, critic.parameters(), case.samples()[0], critic_args=case.args()).startswith("general path")


@pytest.mark.parametrize("how", ["module", "function", "in place"])
def test_a_compiled_critic_is_run_underneath_with_one_warning(how: str) -> None:
    net = CRITICS["MLP"].build()
    compiled = torch.compile(net) if how == "module" else torch.compile(lambda x: net(x)) if how == "function" else net
    if how == "in place":
        net.compile()
    step = CriticStep(compiled, torch.optim.SGD(net.parameters(), lr=0.1))
    x = torch.randn(4, 2, dtype=torch.float64)
    with pytest.warns(UserWarning, match="runs the module underneath"):
        step(x, -x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(x, -x)
    assert step.plan.startswith("general")


# --- changes between steps


def test_a_coefficient_that_changes_between_steps() -> None:
    def before(critic: nn.Module, step: int) -> None:
        critic.fade = step / 4

    assert compare(lambda: Tied().double(), (4, 2), before=before, steps=5).plan.startswith("scheduled")


def test_train_and_eval_switched_between_steps() -> None:
    def make() -> nn.Module:
        critic = CRITICS["MLP"].build()
        return critic.insert(2, nn.RReLU()).insert(2, nn.Dropout(0.0)).insert(1, nn.BatchNorm1d(12).double()).eval()

    compare(make, (4, 2), before=lambda critic, _: critic.eval())

    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = CRITICS["MLP"].build()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) if self.training else torch.tanh(self.net(x)) + self.net[0](x).sum(1, keepdim=True)

    step = compare(Switched, (4, 2), before=lambda critic, step: critic.train(step % 2 == 0), steps=4)
    assert step.plan.startswith("general")
    assert compare(Switched, (4, 2), before=lambda critic, _: critic.train()).plan.startswith("scheduled")


@pytest.mark.parametrize("name", ["a part under no_grad", "a detached part", "a square"])
def test_what_a_critic_begins_to_do_later(name: str) -> None:
    def before(critic: nn.Module, step: int) -> None:
        critic.forward_of = SCHEDULED["slices"] if step < 2 else ANY_PATH[name]

    step = compare(lambda: Parts(SCHEDULED["slices"]), (4, 6), before=before, steps=4)
    assert step.plan.startswith("general")


def test_when_the_path_changes_the_generator_is_asked_once() -> None:
    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.smooth = CRITICS["MLP"].build(), False

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.net(x)) if self.smooth else self.net(x)

    ours, script = Switched(), Switched()
    step = CriticStep(ours, torch.optim.SGD(ours.parameters(), lr=0.1))
    other = Script(script, torch.optim.SGD(script.parameters(), lr=0.1))
    rngs = [torch.Generator().manual_seed(1) for _ in range(2)]
    for smooth in (False, True, True, False):
        ours.smooth = script.smooth = smooth
        real, fake = torch.randn(2, 4, 2, dtype=torch.float64)
        step(real, fake, generator=rngs[0])
        other(real, fake, torch.rand(4, dtype=torch.float64, generator=rngs[1]))
        assert_exact(list(ours.parameters()), list(script.parameters()))
    assert torch.equal(rngs[0].get_state(), rngs[1].get_state())


@pytest.mark.parametrize("name", ["MLP", "GroupNorm"])
def test_random_state_is_moved_by_alpha_alone(name: str) -> None:
    case = CRITICS[name]
    critic = case.build()
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1))
    real, fake, _ = case.samples()
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.rand(4, dtype=torch.float64)
        wanted = torch.get_rng_state()
        torch.manual_seed(seed)
        step(real, fake)
        assert torch.equal(torch.get_rng_state(), wanted)


# --- hooks, failures and side effects


def test_forward_hooks_act() -> None:
    def make() -> nn.Module:
        critic = CRITICS["MLP"].build()
        critic[1].register_forward_hook(lambda _, __, output: output * 0.5)
        critic[2].register_forward_pre_hook(lambda _, inputs: (F.relu(inputs[0]) - inputs[0],))
        critic.register_forward_hook(lambda _, __, output: output.squeeze(1))
        return critic

    assert compare(make, (4, 2)).plan.startswith("scheduled")

    def smooth() -> nn.Module:
        critic = CRITICS["MLP"].build()
        critic[3].register_forward_hook(lambda _, __, output: torch.sigmoid(output))
        return critic

    assert compare(smooth, (4, 2)).plan.startswith("general")


@pytest.mark.parametrize("name", ["MLP", "mixed activations"])
@pytest.mark.parametrize("after", [False, True])
def test_hooks_on_parameters_act(name: str, after: bool) -> None:
    def clamp(parameter: Tensor) -> None:
        parameter.grad.clamp_(-0.01, 0.01)

    def before(critic: nn.Module, step: int) -> None:
        weight = critic[0].weight
        if step == 1 and after:
            weight.register_post_accumulate_grad_hook(clamp)
        elif step == 1:
            weight.register_hook(lambda grad: grad.clamp(-0.01, 0.01))

    case = CRITICS[name]
    compare(case.build, case.shape, before=before)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("which", [0, 2, None])
def test_backward_hooks_on_modules_act(which: int | None) -> None:
    calls: list[nn.Module] = []
    critics: list[nn.Module] = []

    def before(critic: nn.Module, step: int) -> None:
        critics.append(critic)
        if step == 1:
            module = critic if which is None else critic[which]
            module.register_full_backward_hook(lambda *_: calls.append(critic))

    compare(CRITICS["MLP"].build, (4, 2), before=before)
    # Two steps of three terms. In a script, a hook is also called for the zeros that stock sends back a second time.
    assert calls.count(critics[0]) >= 6


def test_an_output_hook_set_by_the_forward_acts() -> None:
    def forward(net: Parts, x: Tensor) -> Tensor:
        h = F.relu(net.a(x))
        if h.requires_grad:
            h.register_hook(lambda grad: grad * 0.5)
        return net.c(h)

    compare(lambda: Parts(forward), (4, 6))


@pytest.mark.parametrize("function", [False, True])
def test_without_a_parameter_to_learn_it_is_an_error(function: bool) -> None:
    critic = CRITICS["MLP"].build()
    step = CriticStep((lambda x: critic(x)) if function else critic, torch.optim.SGD(critic.parameters(), lr=0.1))
    critic.requires_grad_(False)
    x = torch.randn(4, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="do not depend on its parameters"):
        step(x, -x)


def test_a_critic_that_fails_leaves_things_as_a_script_would() -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.broken = CRITICS["MLP"].build(), False

        def forward(self, x: Tensor) -> Tensor:
            h = self.net[:3](x)
            if self.broken:
                raise ZeroDivisionError("broken")
            return self.net[3:](h)

    critic = Fragile()
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.1)
    step = CriticStep(critic, optimizer)
    x = torch.randn(4, 2, dtype=torch.float64)
    for first in (True, False):
        critic.broken = True
        before = [p.detach().clone() for p in critic.parameters()]
        with pytest.raises(ZeroDivisionError, match="broken"):
            step(x, -x)
        assert torch._C._len_torch_function_stack() == 0
        assert torch.is_grad_enabled()
        assert all(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))
        critic.broken = False
        step(x, -x, alpha=torch.full((4,), 0.5, dtype=torch.float64))
        assert not first or step.plan
    assert {int(state["step"]) for state in optimizer.state.values()} == {2}


def test_a_critic_that_failed_at_first_is_looked_at_again() -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.broken = CRITICS["MLP"].build(), True

        def forward(self, x: Tensor) -> Tensor:
            if self.broken:
                raise ZeroDivisionError
            return self.net(x)

    critic = Fragile()
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1))
    x = torch.randn(4, 2, dtype=torch.float64)
    with contextlib.suppress(ZeroDivisionError):
        step(x, -x)
    critic.broken = False
    step(x, -x)
    assert step.plan.startswith("scheduled")


def test_a_change_of_a_saved_value_is_autograds_error() -> None:
    net = Parts(saved_value_changed)
    step = CriticStep(net, torch.optim.SGD(net.parameters(), lr=0.1))
    x = torch.randn(4, 6, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        step(x, -x)


def test_nothing_of_a_step_is_kept() -> None:
    """No tensor of the batch's size outlives the step, except those in the statistics."""
    critic = dcgan().double()
    alive: list[weakref.ref[Tensor]] = []
    for layer in critic:
        layer.register_forward_hook(lambda _, __, output: alive.append(weakref.ref(output)))
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1))
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    step(x, -x)
    alive.clear()
    gc.collect()
    gc.disable()
    try:
        step(x, -x)
        assert len(alive) >= len(list(critic))  # two runs if the points run separately
        assert [reference for reference in alive if reference() is not None] == []
    finally:
        gc.enable()


def test_samples_are_not_changed() -> None:
    case = CRITICS["DCGAN"]
    critic, (real, fake, alpha) = case.build(), case.samples()
    kept = [t.clone() for t in (real, fake, alpha)]
    fake.requires_grad_()
    CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1))(real, fake, alpha=alpha)
    assert all(torch.equal(a, b) for a, b in zip(kept, (real, fake, alpha), strict=True))
    assert fake.grad is None
