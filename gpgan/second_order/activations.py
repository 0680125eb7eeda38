"""Piecewise-linear activations whose second derivative is absent.

Each computes bit for bit what PyTorch's own does. The trick: aten's backward of such an activation is linear in the
gradient and chosen by the input, ``f_backward(g, x)``, and only its derivative by x is made of zeros. So x goes in
detached there. Each saves what PyTorch's own saves, or less, so that later in-place changes are as harmless as before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


class _ReLU(torch.autograd.Function):
    """Saves its result, as relu does: the input may be changed in place."""

    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        result = torch.relu(input)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return aten.threshold_backward(grad, result.detach(), 0)  # type: ignore[no-any-return]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return relu_(input)
    return _ReLU.apply(input)  # type: ignore[no-any-return]


def relu_(input: Tensor) -> Tensor:
    # Not <= 0: a NaN stays one.
    return input.masked_fill_(input.detach() <= 0, 0)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if inplace:
        return leaky_relu_(input, negative_slope)
    return aten.leaky_relu_backward(input, input.detach(), negative_slope, False)  # type: ignore[no-any-return]


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    slopes = aten.leaky_relu_backward(torch.ones_like(input), input.detach(), negative_slope, False)
    return input.mul_(slopes)


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    return NotImplemented if training else leaky_relu(input, (lower + upper) / 2, inplace)


def rrelu_(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, **_: Any) -> Tensor:
    return rrelu(input, lower, upper, training, inplace=True)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    x = input.detach()
    below, above = x <= min_val, x >= max_val
    if inplace:
        return input.masked_fill_(below, min_val).masked_fill_(above, max_val)
    return input.masked_fill(below, min_val).masked_fill_(above, max_val)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return hardtanh(input, min_val, max_val, inplace=True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    return hardtanh(input, 0.0, 6.0, inplace)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    if weight.dim() > 0 and input.dim() > 1:
        weight = weight.view(-1, *[1] * (input.dim() - 2))
    return input * torch.where(input.detach() > 0, torch.ones((), dtype=weight.dtype, device=weight.device), weight)


def abs(input: Tensor) -> Tensor:
    return input * input.detach().sgn()


def abs_(input: Tensor) -> Tensor:
    return input.mul_(input.detach().sgn())


REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu), relu),
    **dict.fromkeys((torch.relu_, Tensor.relu_), relu_),
    **dict.fromkeys((F.leaky_relu, torch._C._nn.leaky_relu), leaky_relu),
    F.leaky_relu_: leaky_relu_,
    **dict.fromkeys((F.rrelu, torch.rrelu), rrelu),
    torch.rrelu_: rrelu_,
    **dict.fromkeys((F.hardtanh, torch._C._nn.hardtanh), hardtanh),
    F.hardtanh_: hardtanh_,
    **dict.fromkeys((F.relu6, torch._C._nn.relu6), relu6),
    torch._C._nn.relu6_: lambda input: relu6(input, inplace=True),
    **dict.fromkeys((torch.prelu, Tensor.prelu), prelu),
    **dict.fromkeys((torch.abs, torch.absolute, Tensor.abs, Tensor.absolute), abs),
    **dict.fromkeys((torch.abs_, Tensor.abs_, Tensor.absolute_), abs_),
}
