"""Pruning has no side effects on modes, modules or random state, and ignores tensor subclasses and other foreign objects."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from against_stock import Around, assert_same
from critics import CRITICS, assert_exact, parameter_grads
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gpgan import gradient_penalty


def modes() -> int:
    return torch._C._len_torch_function_stack()


def state_of(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module and its submodules, tensors by value."""
    return {
        f"{name}.{key}": value.detach().clone() if isinstance(value, Tensor) else _described(value)
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if key != "seen"
    }


def _described(value: Any) -> Any:
    if isinstance(value, Mapping):
        # Hooks are numbered across the whole process.
        return [(key if isinstance(key, str) else "hook", _described(v)) for key, v in value.items()]
    if isinstance(value, Tensor):
        return value.shape, value._version
    return value if isinstance(value, (bool, int, float, str)) else type(value).__name__


class Breaks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError


class Recording(TorchFunctionMode):
    def __init__(self) -> None:
        self.called: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.called.append(func)
        return func(*args, **(kwargs or {}))


def test_no_mode_is_left() -> None:
    case = CRITICS["DCGAN"]
    critic, (real, fake, alpha) = case.build(), case.samples()
    inside: list[int] = []
    critic.register_forward_hook(lambda *_: inside.append(modes()))
    gradient_penalty(critic, real, fake, alpha=alpha).backward()
    assert (modes(), inside) == (0, [1])

    broken = nn.Sequential(critic[:3], Breaks())
    with pytest.raises(ZeroDivisionError):
        gradient_penalty(broken, real, fake, alpha=alpha)
    assert modes() == 0
    with pytest.raises(ValueError, match="do not depend on its input"):
        gradient_penalty(lambda x: critic(x).detach(), real, fake, alpha=alpha)
    assert modes() == 0
    with Recording() as outer:
        with pytest.raises(ZeroDivisionError):
            gradient_penalty(broken, real, fake, alpha=alpha)
        assert modes() == 1
        outer.called.clear()
        torch.relu(real)
        assert outer.called == [torch.relu]
    assert modes() == 0


def test_a_mode_of_the_callers_own_goes_on() -> None:
    case = CRITICS["mixture"]
    (real, fake, alpha), args = case.samples(), case.args()
    grads, called = [], []
    for second_order in ("pruned", "stock"):
        critic = case.build()
        with Recording() as recording:
            penalty = gradient_penalty(critic, real, fake, alpha=alpha, critic_args=args, second_order=second_order)
        called.append(recording.called)
        grads.append(parameter_grads(critic, penalty))
    assert_exact(*grads)
    assert torch.nn.functional.softplus not in called[0]
    assert Tensor.softmax in called[0]
    with torch.device("cpu"):
        assert_same(case.build, real, args)


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_as_stock_leaves_it(name: str, fails: bool) -> None:
    case = CRITICS[name]
    (real, fake, alpha), args = case.samples(), case.args()
    states = []
    for second_order in ("pruned", "stock"):
        critic = case.build()
        next(critic.children()).eval()
        if fails:
            whole = critic.forward
            vars(critic)["forward"] = lambda *a, f=whole: (f(*a), 1 / 0)
            with pytest.raises(ZeroDivisionError):
                gradient_penalty(critic, real, fake, alpha=alpha, critic_args=args, second_order=second_order)
            del vars(critic)["forward"]
        else:
            before = list(critic.state_dict())
            gradient_penalty(critic, real, fake, alpha=alpha, critic_args=args, second_order=second_order)
            assert list(critic.state_dict()) == before
        states.append(state_of(critic))
    assert list(states[0]) == list(states[1])
    for key, value in states[0].items():
        other = states[1][key]
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, key


def test_random_state_is_as_stock_leaves_it() -> None:
    drawn = []
    for second_order in ("pruned", "stock"):
        torch.manual_seed(3)
        rng = torch.Generator().manual_seed(4)
        critic = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.4), nn.RReLU(), nn.Linear(8, 1))
        x = torch.randn(4, 3)
        gradient_penalty(critic, x, -x, generator=rng, second_order=second_order).backward()
        gradient_penalty(critic, x, None, points="noisy", second_order=second_order)
        drawn.append((torch.get_rng_state(), rng.get_state()))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])


def test_hooks_run_as_often_as_with_stock() -> None:
    case = CRITICS["DCGAN"]
    (real, fake, alpha) = case.samples()
    counts: dict[str, list[str]] = {"pruned": [], "stock": []}
    for second_order, calls in counts.items():
        critic = case.build()
        for i, layer in enumerate(critic):
            layer.register_forward_pre_hook(lambda *_, i=i, calls=calls: calls.append(f"before {i}"))
            layer.register_forward_hook(lambda *_, i=i, calls=calls: calls.append(f"after {i}"))
        gradient_penalty(critic, real, fake, alpha=alpha, second_order=second_order).backward()
    assert counts["pruned"] == counts["stock"] != []


def test_backward_hooks_see_the_same_gradients() -> None:
    case = CRITICS["DCGAN"]
    (real, fake, alpha) = case.samples()
    seen: dict[str, list[Tensor]] = {"pruned": [], "stock": []}
    for second_order, grads in seen.items():
        critic = case.build()

        def hook(_: nn.Module, __: Any, output: Tensor, grads: list[Tensor] = grads) -> None:
            # First backward only: in the second, stock activations get zeros that pruned ones never see.
            output.register_hook(lambda grad: grads.append(grad.detach()) if torch.is_grad_enabled() else None)

        for layer in critic:
            layer.register_forward_hook(hook)
        gradient_penalty(critic, real, fake, alpha=alpha, second_order=second_order).backward()
    assert len(seen["pruned"]) == len(list(case.build()))
    assert_exact(seen["pruned"], seen["stock"])


def test_a_hook_may_replace_an_output() -> None:
    case = CRITICS["DCGAN"]

    def make() -> nn.Module:
        critic = case.build()
        critic[1].register_forward_hook(lambda _, __, output: F.max_pool2d(output, 3, 1, 1))
        return critic

    assert_same(make, case.samples()[0])


@pytest.mark.parametrize("name", ["DCGAN", "ResNet, average pooling", "mixture"])
def test_the_graph_is_freed(name: str) -> None:
    """No reference cycle: the forward's tensors are freed with the penalty, without the garbage collector."""
    case = CRITICS[name]
    (real, fake, alpha), critic = case.samples(), case.build()
    alive: list[weakref.ref[Tensor]] = []
    for module in critic.modules():
        module.register_forward_hook(lambda _, __, output: alive.append(weakref.ref(output)))
    gc.disable()
    try:
        penalty = gradient_penalty(critic, real, fake, alpha=alpha, critic_args=case.args())
        penalty.backward()
        del penalty
        assert len(alive) > 5
        assert [reference for reference in alive if reference() is not None] == []
    finally:
        gc.enable()


class Tagged(Tensor):
    """A subclass that records the functions called on it."""

    called: list[Any]

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (F.leaky_relu, F.max_pool2d, F._max_pool2d, torch.conv2d, torch.relu, Tensor.abs):
            Tagged.called.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


def test_subclasses_are_left_alone() -> None:
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    def critic(x: Tensor) -> Tensor:
        tagged = (x * 1.0).as_subclass(Tagged)
        h = F.leaky_relu(torch.conv2d(tagged, weight), 0.2)
        h = F.max_pool2d(torch.relu(h) + h.abs(), 2)
        assert type(h) is Tagged
        return h.as_subclass(Tensor).flatten(1).square().sum(1)

    results = []
    for second_order in ("pruned", "stock"):
        Tagged.called = []
        penalty = gradient_penalty(
            critic,
            None,
            None,
            points=torch.randn(3, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
            second_order=second_order,
        )
        results.append((torch.autograd.grad(penalty, weight), Tagged.called))
    assert_exact(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert len(results[0][1]) >= 5


def test_a_weight_that_is_a_subclass_is_left_alone() -> None:
    Tagged.called = []
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64).as_subclass(Tagged).requires_grad_()
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    grads = []
    for second_order in ("pruned", "stock"):
        penalty = gradient_penalty(
            lambda x: torch.conv2d(x, weight).as_subclass(Tensor).flatten(1).square().sum(1),
            None,
            None,
            points=x,
            second_order=second_order,
        )
        grads.append([g.as_subclass(Tensor) for g in torch.autograd.grad(penalty, weight)])
    assert_exact(*grads)
    assert Tagged.called == [torch.conv2d] * 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", [torch.jit.script, lambda m: torch.jit.trace(m, torch.randn(4, 3, 8, 8).double())])
def test_scripted_critics(how: Callable[[nn.Module], nn.Module]) -> None:
    case = CRITICS["DCGAN"]
    assert_same(lambda: how(case.build()), case.samples()[0])


def test_what_returns_no_tensor_passes() -> None:
    class Odd(Around):
        def forward(self, x: Tensor) -> Tensor:
            assert x.abs().max() > 0
            assert x.shape[0] == 3
            assert abs(-2.5) == 2.5
            scale = abs(x.detach()).amax().item()
            values, indices = x.relu().max(1)
            return super().forward(x) * scale + values * indices

    assert_same(lambda: Odd((4,), F.relu), torch.randn(3, 4, dtype=torch.float64))
