"""Which path a critic takes, and that no path misses what the critic does between or within steps."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from critics import CRITICS, Tied, assert_exact, dcgan
from script_step import Script, compare
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gpgan import CriticStep

Forward = Callable[["Parts", Tensor], Tensor]


class Parts(nn.Module):
    """Layers for whatever forward makes of them."""

    def __init__(self, forward_of: Forward) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.free = nn.Parameter(torch.randn(6))
        self.register_buffer("constant", torch.randn(6))
        self.forward_of = forward_of
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_of(self, x)


def _split(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    left, right = h[:, :3], h[:, 3:]
    return net.c(torch.cat([right, left], 1) + F.leaky_relu(net.b(h), 0.2))


def _in_place_chain(net: Parts, x: Tensor) -> Tensor:
    h = F.relu_(net.a(x))
    h2 = net.b(h)
    h2 += h
    F.leaky_relu(h2, 0.1, inplace=True)
    return net.c(h2)


def _in_place_on_a_view(net: Parts, x: Tensor) -> Tensor:
    h = net.a(x)
    F.relu_(h[:, ::2])
    return net.c(F.leaky_relu(h, 0.2))


def _old_view(net: Parts, x: Tensor) -> Tensor:
    h = net.a(x)
    view = h.view(-1, 2, 3)
    F.relu_(h)
    return net.c(net.b(view.flatten(1)))


def _used_after_change(net: Parts, x: Tensor) -> Tensor:
    h = net.a(x)
    before = net.b(h)
    h = h.mul_(2.0)
    return net.c(F.relu(before + h))


def _result_changed(net: Parts, x: Tensor) -> Tensor:
    h = F.leaky_relu(net.a(x), 0.2)
    h += x
    h2 = F.hardtanh(net.b(h), -0.3, 0.6)
    h2 -= h
    return net.c(h2)


def _input_changed(net: Parts, x: Tensor) -> Tensor:
    y = x * 1.0
    y += x
    return net.c(F.relu(net.a(y) - net.b(x)))


def _no_grad_part(net: Parts, x: Tensor) -> Tensor:
    with torch.no_grad():
        side = F.relu(net.b(x))
    return net.c(F.relu(net.a(x)) + side)


def _detached_part(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) + F.relu(net.b(x)).detach())


def _data_part(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) + F.relu(net.b(x)).data)


def _numbers_read(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h * float(h.abs().max()))


def _branch_on_numbers(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x))) if bool((x.sum() > 0).item()) else net.c(F.relu(net.b(x)))


def _looks_at_the_batch(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) / len(x))


def _mean_of_the_batch(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h - h.mean(0, keepdim=True))


def _across_samples(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h + h.flip(0))


def _rows_as_features(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h.t().contiguous().view(6, len(x)).t())


def _scaled_by_parameter(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) * net.free + net.constant)


def _weight_scaled(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(F.linear(x, net.a.weight * 0.5, net.a.bias)))


def _weight_as_tensor(net: Parts, x: Tensor) -> Tensor:
    return F.relu(x @ net.a.weight.t() + net.a.bias) @ net.c.weight.t()


def _weight_by_data(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(F.linear(x, net.a.weight.detach(), net.a.bias)))


def _free_bias(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(F.linear(x, net.a.weight, net.free)))


def _multiplied(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h * F.leaky_relu(net.b(x), 0.2))


def _squared(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) ** 2)


def _twice_itself(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h + h - 0.5 * h)


def _sequence(net: Parts, x: Tensor) -> Tensor:
    steps = x.view(-1, 3, 2).repeat(1, 1, 3)
    return net.c(F.relu(net.a(steps))).sum(1)


def _rows_of_rows(net: Parts, x: Tensor) -> Tensor:
    wide = net.b(x).unsqueeze(1)
    return net.c(F.relu(net.a(F.leaky_relu(wide, 0.2)))).mean(1)


def _checkpointed(net: Parts, x: Tensor) -> Tensor:
    return net.c(checkpoint(lambda x: F.relu(net.a(x)), x, use_reentrant=False))


def _no_parameters_first(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(x) - 0.5 * x
    return net.c(F.hardtanh(net.a(h) + h, -0.4, 0.8)) + h.sum(1, keepdim=True)


def _dead_end(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    net.b(h)
    return net.c(h)


def _ignored_first(net: Parts, x: Tensor) -> Tensor:
    return net.c(x) + 0 * net.a(x).sum(1, keepdim=True)


def _zero_slope(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.leaky_relu(net.a(x), -0.2)) + net.c(F.leaky_relu(net.b(x), 0.0))


def _slices(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(net.b(h) - h) + h[:, 2:3] * 2 - h[:, -1:] / 3


def _same_input_in_place_later(net: Parts, x: Tensor) -> Tensor:
    h = net.a(x)
    side = h * 2.0
    return net.c(F.relu_(h) + side)


class _StraightThrough(torch.autograd.Function):
    """relu whose gradient goes through as if it were not there, less a sign."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        return F.relu(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


def _own_function(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.leaky_relu(net.b(_StraightThrough.apply(net.a(x))), 0.2))


def _max(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x))) + net.b(x).amax(1, keepdim=True)


def _rebound(net: Parts, x: Tensor) -> Tensor:
    x = x.requires_grad_() if x.is_leaf and not x.requires_grad and torch.is_grad_enabled() else x
    return net.c(F.relu(net.a(x)))


SCHEDULED: dict[str, Forward] = {
    "in place, in a chain": _in_place_chain,
    "a value twice in a sum": _twice_itself,
    "a linear map of a sequence": _rows_of_rows,
    "linear and activation before the first parameters": _no_parameters_first,
    "a dead end": _dead_end,
    "a bias of its own": _free_bias,
    "slices": _slices,
}
# What the schedule must leave to autograd, or get right; either way the numbers are the script's.
ANY_PATH: dict[str, Forward] = {
    "split and joined": _split,
    "in place on a view": _in_place_on_a_view,
    "a view from before a change": _old_view,
    "the input's copy changed": _input_changed,
    "results of activations changed": _result_changed,
    "a part under no_grad": _no_grad_part,
    "a detached part": _detached_part,
    "a part by .data": _data_part,
    "a factor from the numbers": _numbers_read,
    "features times parameter": _scaled_by_parameter,
    "a scaled weight": _weight_scaled,
    "products written out": _weight_as_tensor,
    "a detached weight": _weight_by_data,
    "a product of branches": _multiplied,
    "a square": _squared,
    "a sequence": _sequence,
    "checkpointed": _checkpointed,
    "nothing times a layer": _ignored_first,
    "slopes of zero and below": _zero_slope,
    "in place after a factor": _same_input_in_place_later,
    "maximum": _max,
    "an autograd.Function of its own": _own_function,
    "requires_grad_ inside": _rebound,
}
# Samples that are not alone: the penalty refuses none of these, so that the numbers must be those of three batches of B.
COUPLED: dict[str, Forward] = {
    "the batch's size": _looks_at_the_batch,
    "the batch's mean": _mean_of_the_batch,
    "other samples": _across_samples,
    "rows as features": _rows_as_features,
    "a branch on the numbers": _branch_on_numbers,
}


@pytest.mark.parametrize("name", SCHEDULED | ANY_PATH | COUPLED)
def test_forwards_of_every_kind(name: str) -> None:
    forward = (SCHEDULED | ANY_PATH | COUPLED)[name]
    step = compare(lambda: Parts(forward), (4, 6))
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
        ("weight_norm", "no plain parameter"),
    ):
        critic = CRITICS[name].build()
        told = plan(critic, critic.parameters(), CRITICS[name].samples()[0])
        assert told.startswith("general path")
        assert word in told
        assert "F" in told
    case = CRITICS["projection"]
    critic = case.build()
    assert plan(critic, critic.parameters(), case.samples()[0], critic_args=case.args()).startswith("general path")


# --- what changes between steps


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
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    for smooth in (False, True, True, False):
        ours.smooth = script.smooth = smooth
        real, fake = torch.randn(2, 4, 2, dtype=torch.float64)
        step(real, fake, generator=generators[0])
        other(real, fake, torch.rand(4, dtype=torch.float64, generator=generators[1]))
        assert_exact(list(ours.parameters()), list(script.parameters()))
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


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


# --- hooks and other company


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
    # Two steps of three terms. Where stock sends zeros back a second time, a script's hook is called for these as well.
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
    net = Parts(_used_after_change)
    step = CriticStep(net, torch.optim.SGD(net.parameters(), lr=0.1))
    x = torch.randn(4, 6, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        step(x, -x)


def test_nothing_of_a_step_is_kept() -> None:
    """No tensor of the batch's size outlives the step, beside what the statistics hold."""
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
        assert len(alive) >= len(list(critic))  # of two runs where real with fake and the points run apart
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
