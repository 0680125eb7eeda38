"""Hostile calls of the operators and of the penalty: an error that names an argument, or the reference's result."""

from __future__ import annotations

import random
import re
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import gpgan
from gpgan import ops
from gpgan.ops import reference

REAL = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
ODD = (torch.int64, torch.bool, torch.complex64, torch.uint8, torch.float8_e4m3fn)
SIZES = (0, 1, 1, 2, 2, 3, 4, 5, 7, 8, 16, 17, 33)


class Subclass(Tensor):
    """A subclass without methods of its own."""


def shape(rng: random.Random) -> tuple[int, ...]:
    if rng.random() < 0.05:
        return rng.choice([(), (0,), (0, 1 << 40), (1, 0, 3), (1 << 50,), (3, 1 << 48), (1 << 50, 0), (5,) + (1,) * 30])
    return tuple(rng.choice(SIZES) for _ in range(rng.randint(1, 5)))


def values(rng: random.Random, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A contiguous tensor; one that does not fit into memory is expanded."""
    count = 1
    for length in size:
        count *= length
    if count > 1 << 20:
        return torch.ones((), dtype=dtype).expand(size)
    drawn = torch.randn(size, generator=torch.Generator().manual_seed(rng.getrandbits(40)), dtype=torch.float64)
    # The squares of 1e-15 and 1e15 are numbers of float32: norms are sums of squares, in the kernels and in torch.
    drawn = drawn * rng.choice([1.0, 1.0, 1.0, 0.0, 1e-15, 1e4])
    if count and rng.random() < 0.2:
        drawn.view(-1)[rng.randrange(count)] = rng.choice([float("nan"), float("inf"), -float("inf"), 1e15, 1e-320])
    return (drawn * 1j).to(dtype) if dtype.is_complex else drawn.to(dtype)


def transposed(rng: random.Random, t: Tensor) -> Tensor:
    order = rng.sample(range(t.dim()), t.dim())
    back = [order.index(axis) for axis in range(t.dim())]
    return t.permute(order).contiguous().permute(back)


def with_gaps(rng: random.Random, t: Tensor) -> Tensor:
    return t.repeat_interleave(2, -1)[..., ::2]


def shifted(rng: random.Random, t: Tensor) -> Tensor:
    return torch.cat([t.new_zeros(1), t.reshape(-1)])[1:].view(t.shape)


def repeated(rng: random.Random, t: Tensor) -> Tensor:
    axis = rng.randrange(t.dim())
    return t.narrow(axis, 0, min(1, t.shape[axis])).expand(t.shape) if t.numel() else t


def overlapping(rng: random.Random, t: Tensor) -> Tensor:
    return torch.as_strided(t.reshape(-1).contiguous(), t.shape, [1] * t.dim()) if t.numel() else t


def channels_last(rng: random.Random, t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t


def negative(rng: random.Random, t: Tensor) -> Tensor:
    """A tensor whose sign is a bit of the tensor, not of its memory."""
    return torch.complex(torch.zeros_like(t), -t).conj().imag if t.dtype in (torch.float32, torch.float64) else t


def gradient_needed(rng: random.Random, t: Tensor) -> Tensor:
    return t.clone().requires_grad_() if t.is_floating_point() and t.numel() < 1 << 20 else t


def of_no_graph(rng: random.Random, t: Tensor) -> Tensor:
    with torch.inference_mode():
        return t.clone() if t.numel() < 1 << 20 else t


MEMORIES: list[Callable[[random.Random, Tensor], Tensor]] = [
    transposed, with_gaps, shifted, repeated, overlapping, channels_last, negative, gradient_needed, of_no_graph,
]  # fmt: skip
# Tensors of other kinds; each may be impossible for a shape or a dtype.
KINDS: list[Callable[[Tensor], Any]] = [
    lambda t: t.to("meta"),
    lambda t: t.to_sparse(),
    lambda t: t.to_mkldnn(),
    lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.quint8),
    lambda t: torch.nested.nested_tensor([t, t]),
    lambda t: torch._efficientzerotensor(t.shape, dtype=t.dtype),
    nn.Parameter,
    lambda t: t.as_subclass(Subclass),
    lambda t: t[None],
    lambda t: t[:-1],
    lambda t: t.sum(),
]
OBJECTS = (None, 1, 0.5, "x", [], [1.0], {}, np.zeros(3), float("nan"), object(), torch, nn.Linear(1, 1))


def hostile(rng: random.Random, like: Tensor, chance: float) -> Any:
    """``like`` itself, or in another memory, of another dtype, shape or kind, or no tensor."""
    draw = rng.random() / chance
    if like.numel() > 1 << 20:  # only expanded: to work on it would take for ever
        return like
    try:
        if draw < 0.5 and like.dim():
            return rng.choice(MEMORIES)(rng, like)
        if draw < 0.65:
            return rng.choice(KINDS)(like)
        if draw < 0.8:
            return like.to(rng.choice(REAL + ODD))
        if draw < 0.9:
            return values(rng, shape(rng), rng.choice(REAL))
    except (RuntimeError, IndexError, TypeError):  # not for this shape or dtype
        return like
    return rng.choice(OBJECTS) if draw < 1 else like


def number(rng: random.Random, usual: float) -> Any:
    odd = (0, 0.0, 1, -1.0, 1e15, 1e-15, 5e-324, float("nan"), float("inf"), True, None, "1", 10**400, torch.ones(()))
    return usual if rng.random() < 0.7 else rng.choice(odd)


def reduction(rng: random.Random) -> Any:
    return rng.choice(["mean", "sum", "none"]) if rng.random() < 0.9 else rng.choice(["", "MEAN", None, 3, "\0", "é"])


def spec(rng: random.Random) -> dict[str, Any]:
    return {
        "weight": number(rng, 10.0),
        "target": number(rng, 1.0),
        "one_sided": rng.random() < 0.5,
        "reduction": reduction(rng),
    }


def samples(rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    size, dtype = shape(rng), rng.choice(REAL)
    alpha = values(rng, size[:1] or (1,), rng.choice([torch.float32, dtype]))
    if alpha.numel() < 1 << 20:
        alpha = alpha.abs().clamp(0, 1)
    return values(rng, size, dtype), values(rng, size, dtype), alpha


class Rows(nn.Module):
    """Samples of any shape to rows of numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1)


class Call:
    """One hostile call: what is called, the same of the reference (None: any result will do), and the arguments."""

    def __init__(self, name: str, function: Any, other: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.name, self.function, self.other, self.args, self.kwargs = name, function, other, args, kwargs


def of_an_operator(rng: random.Random) -> Call:
    real, fake, alpha = samples(rng)
    if rng.random() < 0.5:
        args = [hostile(rng, real, 0.5), hostile(rng, fake, 0.5), hostile(rng, alpha, 0.3)]
        return Call("interpolate", ops.interpolate, reference.interpolate, args, {})
    name = rng.choice(["gradient_norm_penalty", "gradient_norm_penalty_with_direction"])
    return Call(name, getattr(ops, name), getattr(reference, name), [hostile(rng, real, 0.7)], spec(rng))


def of_the_library(rng: random.Random) -> Call:
    """Without the checks in Python: only the operator's own are left."""
    real, fake, alpha = samples(rng)
    accumulated = torch.float64 if real.dtype == torch.float64 else torch.float32
    alpha = alpha.to(accumulated) if alpha.numel() < 1 << 20 else alpha
    numbers = [rng.choice([10.0, 0.0, -1.0, float("nan"), 1e15]), rng.choice([1.0, 0.0, -2.0, float("inf")])]
    rest = [*numbers, rng.random() < 0.5, reduction(rng)]
    number_of_samples = alpha if rest[-1] == "none" else torch.ones((), dtype=accumulated)

    def odd(value: Tensor) -> Any:
        return hostile(rng, value, 0.3)

    mask = [rng.random() < 0.7 for _ in range(3 if rng.random() < 0.9 else rng.randint(0, 5))]
    name, args = rng.choice(
        [
            ("interpolate", [odd(real), odd(fake), odd(alpha)]),
            ("interpolate_backward", [odd(real), odd(fake), odd(real), odd(alpha), mask]),
            ("gradient_norm_penalty", [odd(real), *rest]),
            ("gradient_norm_penalty_with_direction", [odd(real), *rest]),
            (
                "gradient_norm_penalty_backward",
                [odd(number_of_samples), rng.choice([None, odd(alpha)]), odd(real), odd(alpha), *rest],
            ),
        ]
    )
    return Call(f"torch.ops.gpgan.{name}", getattr(torch.ops.gpgan, name).default, None, args, {})


def of_the_penalty(rng: random.Random) -> Call:
    real, fake, alpha = samples(rng)
    features = real[0].numel() if real.dim() and len(real) and real.numel() < 1 << 20 else 1
    torch.manual_seed(rng.getrandbits(40))
    net = nn.Sequential(Rows(), nn.Linear(features, 3), rng.choice([nn.Tanh(), nn.ReLU()]), nn.Linear(3, 1))
    net = net.to(real.dtype)
    norm = nn.Sequential(Rows(), nn.BatchNorm1d(features), nn.Linear(features, 1)).to(real.dtype)
    critics: list[Any] = [
        norm, lambda x: net(x).mean(), lambda x: net(x).detach(), lambda x: (net(x), 1), lambda x: None,
        lambda x: net(x.double()), lambda x: net(x)[:1], lambda x: net(x).squeeze(), lambda x: net(x) > 0,
        lambda x: net(x.mul_(2)), lambda x: x, lambda x: x.to_sparse(), lambda x: 1 / (net(x) * 0), lambda x: net(fake),
        None, "critic", 3, nn.Linear, lambda: None, lambda x, y: net(x) * y,
    ]  # fmt: skip
    kwargs: dict[str, Any] = {
        "alpha": hostile(rng, alpha, 0.2) if rng.random() < 0.9 else None,
        "points": "between" if rng.random() < 0.7 else rng.choice(["real", "fake", "both", "noisy", "", None, 3, real]),
        "method": "exact" if rng.random() < 0.7 else rng.choice(["finite_difference", "fast", None]),
        "second_order": rng.choice(["pruned", "pruned", "stock", "none"]),
        "generator": torch.Generator() if rng.random() < 0.8 else rng.choice([None, 3, np.random]),
        **spec(rng),
    }
    odd = {
        "critic_args": lambda: rng.choice([(alpha,), (alpha[:-1],), alpha, (None,), 3, [real]]),
        "critic_kwargs": lambda: rng.choice([{"y": alpha}, {"z": 1}, {1: 2}, [], "y"]),
        "grad_scale": lambda: rng.choice(
            [2.0, 65536, 0, float("nan"), True, "2", torch.ones(()), torch.ones(2), torch.ones((), dtype=torch.long)]
        ),
        "allow_batch_coupling": lambda: rng.choice([True, None, "no"]),
        "return_norms": lambda: rng.choice([True, 1, None]),
    }
    for name, draw in odd.items():
        if rng.random() < 0.15:
            kwargs[name] = draw()
    args = [net if rng.random() < 0.6 else rng.choice(critics), hostile(rng, real, 0.3), hostile(rng, fake, 0.3)]

    def run(impl: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            torch.manual_seed(0)
            if isinstance(kwargs["generator"], torch.Generator):
                kwargs["generator"].manual_seed(0)
            return gpgan.gradient_penalty(*args, **kwargs, impl=impl)

        return call

    return Call("gradient_penalty", run("native"), run("reference"), args, kwargs)


def make(number: int) -> tuple[random.Random, Call]:
    """The call with this number."""
    rng = random.Random(f"hostile call {number}")
    torch.manual_seed(rng.getrandbits(40))
    return rng, rng.choice([of_an_operator, of_the_library, of_the_penalty])(rng)


def results(out: Any) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else list(out)


def state(args: list[Any]) -> list[Any]:
    """The bits of the tensors among the arguments."""
    usual = [t for t in args if type(t) is Tensor and t.device.type == "cpu" and t.layout == torch.strided]
    small = [t for t in usual if not (t.is_nested or t.is_quantized or t._is_zerotensor()) and 0 < t.numel() < 1 << 20]
    return [
        t.detach()
        .resolve_neg()
        .clone(memory_format=torch.contiguous_format)
        .reshape(-1)
        .view(torch.uint8)
        .numpy()
        .tobytes()
        for t in small
    ]


def differentiated(rng: random.Random, out: list[Tensor], args: list[Any]) -> list[Tensor]:
    """First and second derivatives with respect to the arguments that need them."""
    leaves = [t for t in args if isinstance(t, Tensor) and t.requires_grad and t.is_leaf]
    total = sum(each.double().square().sum() for each in out if each.requires_grad)
    if not leaves or not isinstance(total, Tensor):
        return []
    first = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
    again = sum(each.double().square().sum() for each in first if each is not None)
    if not (isinstance(again, Tensor) and again.requires_grad):
        return []
    return [g for g in (*first, *torch.autograd.grad(again, leaves, allow_unused=True)) if g is not None]


def same(mine: Tensor, other: Tensor, derivative: bool = False) -> bool:
    """Whether two results are the same number; torch's own derivative of a norm at zero may be NaN, the kernels' is 0."""
    if (mine.shape, mine.dtype, mine.device, mine.layout) != (other.shape, other.dtype, other.device, other.layout):
        return False
    if mine.device.type == "meta":
        return True
    mine, other = mine.detach().double(), other.detach().double()
    finite = torch.isfinite(mine) & torch.isfinite(other)
    # Two roundings of the same number in bfloat16; entries that cancel are compared with the largest.
    largest = float(other[finite].abs().max()) if finite.any() else 0.0
    near = torch.isclose(mine[finite], other[finite], rtol=0.02, atol=1e-5 * largest + 1e-30).all()
    return bool(near) and (derivative or torch.equal(mine.isfinite(), other.isfinite()))


def of_the_critic(error: Exception) -> bool:
    """Whether the critic itself raised it, or was given arguments that it does not take."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = any("torch/nn/modules" in frame.filename or frame.name == "<lambda>" for frame in frames)
    return inside or re.search(r"(forward|<lambda>|__init__)\(\)", str(error)) is not None


def outcome(number: int) -> str:
    """What became of a call: "refused", "equal", "ran", or a fault after "!"."""
    rng, call = make(number)
    before = state(call.args)
    names = {
        *call.kwargs,
        "critic",
        "real",
        "fake",
        "alpha",
        "grads",
        "weight",
        "target",
        "reduction",
        "points",
        "samples",
    }

    def ran(function: Any) -> Any:
        try:
            return results(function(*call.args, **call.kwargs))
        except (TypeError, ValueError, RuntimeError) as error:
            return error
        except Exception as error:
            if call.other is None or of_the_critic(error):
                return error
            raise

    mine = ran(call.function)
    if any(isinstance(t, Tensor) and not t.is_nested and t.numel() > 1 << 20 for t in call.args):
        call.other = None  # the reference would sum for ever
    if state(call.args) != before:
        return f"!{call.name} changed its arguments"
    if call.other is None:
        return "refused" if isinstance(mine, Exception) else "ran"
    theirs = ran(call.other)
    if isinstance(mine, Exception) and isinstance(theirs, Exception):
        named = any(re.search(rf"\b{name}\b", str(mine)) for name in names)
        # The last is how torch's stable interface reports that a result does not fit into memory.
        known = (
            named
            or "memory" in str(mine)
            or "API call failed" in str(mine)
            or "gpgan.ops cannot run on" in str(mine)
            or of_the_critic(mine)
        )
        return "refused" if known else f"!{call.name}: {type(mine).__name__}: {mine}"
    if isinstance(mine, Exception) or isinstance(theirs, Exception):
        return f"!{call.name}: {mine!r:.300}, and the reference: {theirs!r:.300}"
    wrong = [(a, b) for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if not same(a, b, i == 2)]
    if wrong:
        return f"!{call.name}: {wrong[0][0]!r:.300}, and the reference: {wrong[0][1]!r:.300}"
    pairs = [differentiated(rng, out, call.args) for out in (mine, theirs)]
    wrong = [(a, b) for a, b in zip(*pairs, strict=True) if not same(a, b, True)]
    return f"!{call.name}, derivative: {wrong[0][0]!r:.300}, reference: {wrong[0][1]!r:.300}" if wrong else "equal"


def test_hostile_calls(tally: Any) -> None:
    tally.in_children("test_hostile_calls", few=200, many=3000)
