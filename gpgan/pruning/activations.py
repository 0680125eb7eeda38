"""Piecewise-linear activations without a second derivative.

Values and gradients are PyTorch's own. aten's backward of such an activation, ``f_backward(g, x)``, is linear in the
gradient g, and its derivative with respect to x is zero. So x is passed detached. Each function saves the same tensors
as PyTorch's own, so later changes in place are as harmless as before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpgan.pruning import operators

aten = torch.ops.aten


class _Activation(torch.autograd.Function):
    """run maps the input to (result, tensor kept for the backward); backward maps (gradient, kept) to the gradient."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, inplace: bool, run: Callable[[Tensor], tuple[Tensor, Tensor]], backward: Any
    ) -> Tensor:
        result, kept = run(input)
        if inplace:
            ctx.mark_dirty(input)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(kept)
        ctx.run_backward = backward
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        if grad is None:
            return None, None, None, None
        (kept,) = ctx.saved_tensors
        return ctx.run_backward(grad, kept.detach()), None, None, None


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        result = torch.relu_(x) if inplace else torch.relu(x)
        return result, result

    return _Activation.apply(input, inplace, run, lambda grad, kept: aten.threshold_backward(grad, kept, 0))  # type: ignore[no-any-return]


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if not inplace:
        # leaky_relu_backward(x, x) equals leaky_relu(x), and needs no Python in the graph.
        return aten.leaky_relu_backward(input, input.detach(), negative_slope, False)  # type: ignore[no-any-return]

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        result = F.leaky_relu_(x, negative_slope)
        return result, result

    return _Activation.apply(  # type: ignore[no-any-return]
        input, True, run, lambda grad, kept: aten.leaky_relu_backward(grad, kept, negative_slope, True)
    )


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
    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        kept = x.clone() if inplace else x
        return F.hardtanh(x, min_val, max_val, inplace), kept

    return _Activation.apply(  # type: ignore[no-any-return]
        input, inplace, run, lambda grad, kept: aten.hardtanh_backward(grad, kept, min_val, max_val)
    )


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return hardtanh(input, min_val, max_val, inplace=True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    return hardtanh(input, 0.0, 6.0, inplace)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    if weight.dim() > 0 and input.dim() > 1:
        weight = weight.view(-1, *[1] * (input.dim() - 2))
    return input * torch.where(input.detach() > 0, torch.ones((), dtype=weight.dtype, device=weight.device), weight)


def abs(input: Tensor) -> Tensor:
    return _Activation.apply(input, False, lambda x: (torch.abs(x), x), _abs_backward)  # type: ignore[no-any-return]


def abs_(input: Tensor) -> Tensor:
    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        signs = x.sgn()
        return torch.abs_(x), signs

    return _Activation.apply(input, True, run, _abs_backward)  # type: ignore[no-any-return]


def _abs_backward(grad: Tensor, kept: Tensor) -> Tensor:
    return grad * kept.sgn()


REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(operators.RELU, relu),
    **dict.fromkeys(operators.RELU_, lambda input: relu(input, inplace=True)),
    **dict.fromkeys(operators.LEAKY_RELU, leaky_relu),
    **dict.fromkeys(
        operators.LEAKY_RELU_, lambda input, negative_slope=0.01: leaky_relu(input, negative_slope, inplace=True)
    ),
    **dict.fromkeys(operators.RRELU, rrelu),
    **dict.fromkeys(operators.RRELU_, rrelu_),
    **dict.fromkeys(operators.HARDTANH, hardtanh),
    **dict.fromkeys(operators.HARDTANH_, hardtanh_),
    **dict.fromkeys(operators.RELU6, relu6),
    **dict.fromkeys(operators.RELU6_, lambda input: relu6(input, inplace=True)),
    **dict.fromkeys(operators.PRELU, prelu),
    **dict.fromkeys(operators.ABS, abs),
    **dict.fromkeys(operators.ABS_, abs_),
}
