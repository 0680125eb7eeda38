"""Kinds of critic: batch coupling, labels, shapes of scores, torch.compile; and no side effects of the penalty."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.utils.checkpoint
from critics import parameter_grads, quadratic, smooth
from tolerances import assert_near
from torch import Tensor, nn

from gpgan import gradient_penalty

# --- batch coupling


def with_norm(norm: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 6), norm, nn.Tanh(), nn.Linear(6, 1))


def functional_batch_norm(x: Tensor) -> Tensor:
    return nn.functional.batch_norm(x, None, None, training=True).square().sum(1)


def torch_batch_norm(x: Tensor) -> Tensor:
    return torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False).square().sum(1)


def positional_batch_norm(x: Tensor) -> Tensor:
    return nn.functional.batch_norm(x, None, None, None, None, True).square().sum(1)


def hidden() -> Callable[[Tensor], Tensor]:
    inner = with_norm(nn.BatchNorm1d(6))
    return lambda x: inner(x * 2)


COUPLED: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "module": lambda: with_norm(nn.BatchNorm1d(6)),
    "sync": lambda: with_norm(nn.SyncBatchNorm(6)),
    "no running statistics": lambda: with_norm(nn.BatchNorm1d(6, track_running_stats=False)).eval(),
    "one submodule in training mode": lambda: with_norm(nn.BatchNorm1d(6).eval()),
    "functional": lambda: functional_batch_norm,
    "functional, positional": lambda: positional_batch_norm,
    "torch.batch_norm": lambda: torch_batch_norm,
    "lambda": hidden,
    "partial": lambda: functools.partial(with_norm(nn.BatchNorm1d(6))),
}


@pytest.mark.parametrize("kind", COUPLED)
def test_batch_norm_in_training_mode_is_an_error(kind: str, impl: str) -> None:
    critic = COUPLED[kind]()
    if kind == "one submodule in training mode":
        critic.eval()[1].train()
    x = torch.randn(5, 3)
    with pytest.raises(ValueError, match=r"BatchNorm in training mode.*allow_batch_coupling=True"):
        gradient_penalty(critic, x, -x, impl=impl)
    assert torch.isfinite(gradient_penalty(critic, x, -x, impl=impl, allow_batch_coupling=True))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), nn.SyncBatchNorm(6), nn.LayerNorm(6), nn.GroupNorm(2, 6)])
def test_norms_that_do_not_couple_pass(norm: nn.Module, impl: str) -> None:
    critic = with_norm(norm)
    if isinstance(norm, (nn.BatchNorm1d, nn.SyncBatchNorm)):
        critic.eval()
    x = torch.randn(5, 3)
    penalty = gradient_penalty(critic, x, -x, impl=impl)
    assert sum(g.abs().sum() for g in parameter_grads(critic, penalty)) > 0


@pytest.mark.parametrize("kind", [nn.InstanceNorm2d, nn.Identity])
def test_instance_norm_passes(kind: type[nn.Module], impl: str) -> None:
    critic = nn.Sequential(nn.Conv2d(1, 4, 3), kind(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 1))
    x = torch.randn(5, 1, 4, 4)
    assert gradient_penalty(critic, x, -x, impl=impl).requires_grad


def test_batch_norm_that_x_does_not_pass_through_is_none_of_the_critics(impl: str) -> None:
    # A condition computed by a network with BatchNorm, with its graph, does not couple the gradients at x.
    critic, encoder = smooth(3, torch.float32), with_norm(nn.BatchNorm1d(6))
    x = torch.randn(5, 3)
    condition = encoder(torch.randn(5, 3))
    penalty = gradient_penalty(lambda x, c: critic(x * c), x, -x, critic_args=(condition,), impl=impl)
    assert torch.isfinite(penalty)


@pytest.mark.parametrize(("norm", "couples"), [(nn.InstanceNorm2d, False), (nn.BatchNorm2d, True)])
def test_checkpointed_critic(norm: type[nn.Module], couples: bool, impl: str) -> None:
    body = nn.Sequential(nn.Conv2d(1, 4, 3), norm(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 1))
    x, alpha = torch.randn(5, 1, 4, 4), torch.rand(5)

    def critic(x: Tensor) -> Tensor:
        return torch.utils.checkpoint.checkpoint(body, x, use_reentrant=False)

    if couples:
        with pytest.raises(ValueError, match="BatchNorm in training mode"):
            gradient_penalty(critic, x, -x, impl=impl)
        return
    ours = parameter_grads(body, gradient_penalty(critic, x, -x, alpha=alpha, impl=impl))
    plain = parameter_grads(body, gradient_penalty(body, x, -x, alpha=alpha, impl=impl))
    for mine, theirs in zip(ours, plain, strict=True):
        assert_near(mine, theirs)


# --- labels


class Conditional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.labels = nn.Embedding(4, 3)
        self.net = smooth(3, torch.float32)

    def forward(self, x: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
        return self.net(x * self.labels(y)) * scale


def test_critic_args_and_kwargs_are_passed_on(impl: str) -> None:
    critic = Conditional()
    x, y, alpha = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0]), torch.rand(5)
    options = {"alpha": alpha, "impl": impl}
    wanted = gradient_penalty(lambda x: critic(x, y, 2.0), x, -x, **options)
    assert torch.equal(gradient_penalty(critic, x, -x, critic_args=(y, 2.0), **options), wanted)
    kwargs = {"y": y, "scale": 2.0}
    assert torch.equal(gradient_penalty(critic, x, -x, critic_kwargs=kwargs, **options), wanted)
    assert torch.equal(
        gradient_penalty(critic, x, -x, critic_args=[y], critic_kwargs={"scale": 2.0}, **options), wanted
    )
    assert not torch.equal(gradient_penalty(critic, x, -x, critic_args=(y.flip(0), 2.0), **options), wanted)
    assert list(kwargs) == ["y", "scale"]


def test_tensor_shared_by_all_samples_goes_in_by_partial_or_as_a_scalar(impl: str) -> None:
    x = torch.ones(5, 3)

    def critic(x: Tensor, w: Tensor, k: Tensor) -> Tensor:
        return (x * w).sum(1) * k

    bound = functools.partial(critic, w=torch.tensor([0.0, 3.0, 4.0]))
    _, norms = gradient_penalty(bound, x, x, critic_kwargs={"k": torch.tensor(2.0)}, impl=impl, return_norms=True)
    assert norms.tolist() == [10.0] * 5


# --- scores


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 1, 4, 4), (5, 0), (5, 2, 3)])
def test_scores_of_any_shape_are_summed(shape: tuple[int, ...], impl: str) -> None:
    x = torch.tensor([[3.0, 4.0]]).repeat(5, 1)
    count = torch.Size(shape[1:]).numel()

    def critic(x: Tensor) -> Tensor:
        return quadratic(x).reshape(5, *[1] * (len(shape) - 1)).expand(shape)

    _, norms = gradient_penalty(critic, x, x, impl=impl, return_norms=True)
    assert norms.tolist() == [5.0 * count] * 5


def test_patch_critic_has_the_gradient_of_its_sum(impl: str) -> None:
    patch = nn.Conv2d(2, 1, 3, padding=1).double()
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    options = {"alpha": torch.rand(3), "impl": impl}
    assert_near(
        gradient_penalty(patch, x, -x, **options), gradient_penalty(lambda x: patch(x).sum((1, 2, 3)), x, -x, **options)
    )


# --- torch.compile


class Outer(nn.Module):
    def __init__(self, inner: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * 1.0


def compiled_module(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.compile(net, backend="aot_eager")


def compiled_in_place(net: nn.Module) -> Callable[[Tensor], Tensor]:
    net.compile(backend="aot_eager")
    return net


def compiled_submodule(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return Outer(torch.compile(net, backend="aot_eager"))


def compiled_function(net: nn.Module) -> Callable[[Tensor], Tensor]:
    @torch.compile(backend="aot_eager")
    def critic(x: Tensor) -> Tensor:
        return net(x) * 1.0

    return critic


@pytest.mark.parametrize("how", [compiled_module, compiled_in_place, compiled_submodule, compiled_function])
def test_compiled_critic_runs_what_is_underneath_and_says_so_once(
    how: Callable[[nn.Module], Callable[[Tensor], Tensor]], impl: str
) -> None:
    plain = smooth(3)
    net = copy.deepcopy(plain)
    critic = how(net)
    x, alpha = torch.randn(5, 3, dtype=torch.float64), torch.rand(5)
    critic(x).sum().backward()  # compiled already, as in a training script
    exact = gradient_penalty(plain, x, -x, alpha=alpha, impl=impl)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours = [gradient_penalty(critic, x, -x, alpha=alpha, impl=impl) for _ in range(3)]
    assert [w.category for w in caught if "torch.compile" in str(w.message)] == [UserWarning]
    wanted = parameter_grads(plain, exact)
    for penalty in ours:
        assert_near(penalty, exact)
        for mine, theirs in zip(parameter_grads(net, penalty), wanted, strict=True):
            assert_near(mine, theirs)


def test_compiled_critic_with_batch_norm_is_caught_too() -> None:
    x = torch.randn(5, 3)
    with pytest.raises(ValueError, match="BatchNorm"), pytest.warns(UserWarning, match="torch.compile"):
        gradient_penalty(compiled_module(with_norm(nn.BatchNorm1d(6))), x, -x)


def test_critic_that_is_not_compiled_is_not_warned_of() -> None:
    x = torch.randn(5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_penalty(smooth(3, torch.float32), x, -x).backward()


# --- no side effects


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        self.net(x)
        raise OSError("from the critic")


def state(module: nn.Module) -> list[object]:
    flags = [(name, m.training) for name, m in module.named_modules()]
    hooks = [
        len(getattr(m, name))
        for m in module.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    ]
    parameters = [(p.requires_grad, p.grad, len(p._backward_hooks or ())) for p in module.parameters()]
    return [flags, hooks, parameters]


@pytest.mark.parametrize("critic", [Fails, lambda: with_norm(nn.Dropout(0.5)), lambda: with_norm(nn.BatchNorm1d(6))])
def test_nothing_is_left_behind(critic: Callable[[], nn.Module], impl: str) -> None:
    module = critic()
    module.register_forward_hook(lambda *_: None)
    next(module.parameters()).requires_grad_(False)
    real, fake = torch.randn(4, 3), torch.randn(4, 3, requires_grad=True)
    before, values = state(module), (real.clone(), fake.detach().clone())
    try:
        gradient_penalty(module, real, fake, impl=impl)
        raised = None
    except (OSError, ValueError) as error:
        raised = error
    assert (raised is None) == isinstance(module[1] if isinstance(module, nn.Sequential) else None, nn.Dropout)
    assert state(module) == before
    assert (real.requires_grad, fake.requires_grad) == (False, True)
    assert real.grad is None
    assert fake.grad is None
    assert torch.equal(real, values[0])
    assert torch.equal(fake, values[1])
    assert torch.is_grad_enabled()
    # BatchNorm is refused only inside the penalty.
    nn.functional.batch_norm(torch.randn(4, 3), None, None, training=True)


def test_errors_of_the_critic_pass_through(impl: str) -> None:
    x = torch.randn(4, 3)
    with pytest.raises(OSError, match="from the critic"):
        gradient_penalty(Fails(), x, x, impl=impl)


def test_hooks_of_the_critic_run(impl: str) -> None:
    critic = smooth(3, torch.float32)
    shapes: list[torch.Size] = []
    critic.register_forward_hook(lambda module, inputs, output: shapes.append(inputs[0].shape))
    x = torch.randn(4, 3)
    gradient_penalty(critic, x, x, impl=impl)
    assert shapes == [x.shape]


class _Wrapped:
    """A callable that hides a compiled critic."""

    def __init__(self, critic: nn.Module) -> None:
        self.critic = torch.compile(critic, backend="eager")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.critic(x)


def test_a_hidden_compiled_critic_gives_the_right_gradient() -> None:
    critic, x, y = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1)), torch.randn(4, 3), torch.randn(4, 3)
    alpha = torch.rand(4)
    plain = torch.autograd.grad(gradient_penalty(critic, x, y, alpha=alpha), critic[0].weight)[0]
    hidden = torch.autograd.grad(gradient_penalty(_Wrapped(critic), x, y, alpha=alpha), critic[0].weight)[0]
    assert torch.equal(plain, hidden)


def test_the_look_for_batch_statistics_unpacks_no_saved_tensor() -> None:
    critic = nn.Sequential(nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4), nn.SiLU(), nn.Flatten(), nn.Linear(24, 1))
    unpacked: list[int] = []

    def unpack(value: torch.Tensor) -> torch.Tensor:
        unpacked.append(1)
        return value

    with torch.autograd.graph.saved_tensors_hooks(lambda value: value, unpack):
        x = torch.randn(3, 2, 8)
        counts = []
        for allow in (True, False):
            gradient_penalty(critic, x, x, allow_batch_coupling=allow)  # the first one probes the critic
            unpacked.clear()
            gradient_penalty(critic, x, x, allow_batch_coupling=allow)
            counts.append(len(unpacked))
    assert counts[0] == counts[1]


def test_a_compiled_training_step_gives_the_right_gradient() -> None:
    critic, x, y = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1)), torch.randn(4, 3), torch.randn(4, 3)
    alpha = torch.rand(4)

    def loss() -> Tensor:
        return critic(y).mean() - critic(x).mean() + gradient_penalty(critic, x, y, alpha=alpha)

    (wanted,) = torch.autograd.grad(loss(), critic[0].weight)
    (got,) = torch.autograd.grad(torch.compile(loss, backend="aot_eager")(), critic[0].weight)
    assert_near(got, wanted)
