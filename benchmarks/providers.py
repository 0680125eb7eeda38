"""The computations that are timed, each by several providers: gpgan, and PyTorch in three ways.

A provider is a function without arguments that returns the results as a tuple of tensors. ``plain`` is what scripts do,
``best`` the fastest composition found of PyTorch's own operators, ``compiled`` is ``best`` under torch.compile. Eager PyTorch
gets alpha in the samples' dtype, so that it need not convert it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import gpgan
from gpgan import ops

WEIGHT, TARGET = 10.0, 1.0

Call = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Inputs:
    real: Tensor  # [B, ...]
    fake: Tensor  # [B, ...]
    grads: Tensor  # [B, ...], rows of norm about 1
    alpha: Tensor  # [B] float32
    own_alpha: Tensor  # [B] in the dtype of real


def make_inputs(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Inputs:
    generator = torch.Generator(device).manual_seed(0)

    def normal() -> Tensor:
        return torch.randn(shape, dtype=dtype, device=device, generator=generator)

    # Multiples of 1/64 are exact in every dtype.
    alpha = torch.randint(0, 65, shape[:1], device=device, generator=generator) / 64
    inputs = Inputs(normal(), normal(), normal().div_(math.sqrt(math.prod(shape[1:]))), alpha, alpha.to(dtype))
    for value in vars(inputs).values():
        _share_compilation(value)
    return inputs


def _share_compilation(value: Tensor) -> Tensor:
    """Lets one compilation serve all batch sizes on a GPU, where many are measured."""
    if value.is_cuda:
        torch._dynamo.maybe_mark_dynamic(value, 0)
    return value


def _leaf(grads: Tensor) -> Tensor:
    return _share_compilation(grads.clone().requires_grad_())


@functools.lru_cache(maxsize=1)
def _compiled_for(inputs_key: tuple[Any, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    torch._dynamo.reset()  # so that each compilation is as in a new process
    return torch.compile(function, fullgraph=True)


def compiled(function: Callable[..., Any], inputs: Inputs) -> Callable[..., Any]:
    """function under torch.compile, for inputs of this sample shape, dtype and device."""
    batch = None if inputs.real.is_cuda else len(inputs.real)
    return _compiled_for((batch, inputs.real.shape[1:], inputs.real.dtype, inputs.real.device), function)


def column(values: Tensor, samples: Tensor) -> Tensor:
    return values.view(-1, *[1] * (samples.dim() - 1))


# --- interpolate


def plain_interpolate(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    alpha = column(alpha, real).expand_as(real)
    return alpha * real + (1 - alpha) * fake


def best_interpolate(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    return torch.lerp(fake, real, column(alpha, real))


def interpolate(x: Inputs) -> dict[str, Call]:
    args = x.real, x.fake, x.own_alpha
    compiled_interpolate = compiled(best_interpolate, x)
    return {
        "gpgan": lambda: (ops.interpolate(x.real, x.fake, x.alpha),),
        "plain": lambda: (plain_interpolate(*args),),
        "best": lambda: (best_interpolate(*args),),
        "compiled": lambda: (compiled_interpolate(*args),),
    }


# --- the penalty of given gradients


def gpgan_penalty(grads: Tensor) -> tuple[Tensor, Tensor]:
    return ops.gradient_norm_penalty(grads, weight=WEIGHT, target=TARGET)


def plain_penalty(grads: Tensor) -> tuple[Tensor, Tensor]:
    norms = grads.reshape(grads.size(0), -1).norm(2, dim=1)
    return WEIGHT * ((norms - TARGET) ** 2).mean(), norms


def best_penalty(grads: Tensor) -> tuple[Tensor, Tensor]:
    norms = torch.linalg.vector_norm(grads.flatten(1), dim=1, dtype=torch.float32)
    excess = norms - TARGET
    return torch.dot(excess, excess) * (WEIGHT / len(grads)), norms


def _penalties(x: Inputs) -> dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    return {
        "gpgan": gpgan_penalty,
        "plain": plain_penalty,
        "best": best_penalty,
        "compiled": compiled(best_penalty, x),
    }


def penalty_forward(x: Inputs) -> dict[str, Call]:
    return {name: functools.partial(function, x.grads) for name, function in _penalties(x).items()}


def penalty_forward_backward(x: Inputs) -> dict[str, Call]:
    grads = _leaf(x.grads)

    def call(function: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        penalty, norms = function(grads)
        return penalty, norms, *torch.autograd.grad(penalty, grads)

    return {name: functools.partial(call, function) for name, function in _penalties(x).items()}


def penalty_backward(x: Inputs) -> dict[str, Call]:
    """The backward alone, repeated over one graph per provider."""
    grads = _leaf(x.grads)
    graphs: dict[str, Tensor] = {}

    def call(name: str, function: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        if name not in graphs:
            graphs[name] = function(grads)[0]
        return torch.autograd.grad(graphs[name], grads, retain_graph=True)

    # Otherwise a compiled backward may overwrite what its forward saved, and can run only once.
    torch._functorch.config.donated_buffer = False
    return {name: functools.partial(call, name, function) for name, function in _penalties(x).items()}


# --- the one-pass form


def plain_one_pass(grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grads = grads.detach().requires_grad_()
    penalty, norms = plain_penalty(grads)
    (direction,) = torch.autograd.grad(penalty, grads)
    return penalty.detach(), norms.detach(), direction


def best_one_pass(grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # v = (2 weight / B) (n - target) / n g by hand, in place where the value is not needed again.
    rows = grads.flatten(1)
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float32)
    excess = norms - TARGET
    flat = excess.view(-1)
    penalty = torch.dot(flat, flat) * (WEIGHT / len(grads))
    factor = excess.mul_(2 * WEIGHT / len(grads)).div_(norms).masked_fill_(norms == 0, 0)
    return penalty, norms.view(-1), (factor.to(rows.dtype) * rows).view(grads.shape)


def one_pass(x: Inputs) -> dict[str, Call]:
    compiled_one_pass = compiled(best_one_pass, x)
    return {
        "gpgan": lambda: ops.gradient_norm_penalty_with_direction(x.grads, weight=WEIGHT, target=TARGET),
        "plain": lambda: plain_one_pass(x.grads),
        "best": lambda: best_one_pass(x.grads),
        "compiled": lambda: compiled_one_pass(x.grads),
    }


# --- the whole penalty of a critic


def make_critic(samples: Tensor) -> nn.Module:
    """A critic small enough to show the penalty's own work: an MLP for vectors, one patch convolution for the rest."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if samples.dim() == 2:
            net = nn.Sequential(nn.Linear(samples.shape[1], 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
        else:
            conv = nn.Conv2d if samples.dim() == 4 else nn.Conv3d
            net = nn.Sequential(conv(samples.shape[1], 8, 4, stride=4), nn.LeakyReLU(0.2), conv(8, 1, 1), nn.Flatten())
    return net.to(samples.device, samples.dtype)


def critic_penalty(
    critic: nn.Module,
    x: Inputs,
    mix: Callable[[Tensor, Tensor, Tensor], Tensor],
    penalty_of: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> Tensor:
    point = mix(x.real, x.fake, x.own_alpha).requires_grad_()
    scores = critic(point)
    (grads,) = torch.autograd.grad(scores, point, torch.ones_like(scores), create_graph=True, retain_graph=True)
    return penalty_of(grads)[0]


def gradient_penalty(x: Inputs) -> dict[str, Call]:
    """The penalty's value and its gradient with respect to the critic's parameters. torch.compile has no double backward, so
    ``compiled`` compiles the interpolation and the penalty, and leaves the critic eager."""
    critic = make_critic(x.real)
    parameters = list(critic.parameters())[:-1]  # the penalty does not depend on the last bias
    # One function, because ``compiled`` keeps only one.
    pieces = compiled(_pieces, x)
    penalties: dict[str, Callable[[], Tensor]] = {
        "gpgan": lambda: gpgan.gradient_penalty(
            critic, x.real, x.fake, weight=WEIGHT, target=TARGET, alpha=x.alpha, impl="native"
        ),
        "plain": lambda: critic_penalty(critic, x, plain_interpolate, plain_penalty),
        "best": lambda: critic_penalty(critic, x, best_interpolate, best_penalty),
        "compiled": lambda: critic_penalty(
            critic, x, lambda *args: pieces(args, None), lambda grads: pieces(None, grads)
        ),
    }

    def call(penalty_of: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        penalty = penalty_of()
        return penalty, *torch.autograd.grad(penalty, parameters)

    return {name: functools.partial(call, penalty_of) for name, penalty_of in penalties.items()}


def _pieces(mixed: tuple[Tensor, ...] | None, grads: Tensor | None) -> Any:
    if mixed is not None:
        return best_interpolate(*mixed)
    assert grads is not None
    return best_penalty(grads)


@dataclass(frozen=True)
class Operation:
    make: Callable[[Inputs], dict[str, Call]]
    # How many tensors of the samples' size have to be read or written at least; None where it depends on the critic.
    moved: int | None


OPERATIONS = {
    "interpolate": Operation(interpolate, 3),
    "penalty_forward": Operation(penalty_forward, 1),
    "penalty_backward": Operation(penalty_backward, 2),
    "penalty_forward_backward": Operation(penalty_forward_backward, 3),
    "one_pass": Operation(one_pass, 2),
    "gradient_penalty": Operation(gradient_penalty, None),
}
