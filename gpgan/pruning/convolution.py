"""Convolution whose derivatives of every order are direct convolutions.

A convolution y = conv(x, w) is linear in x and in w. Its two gradients are linear in both of their arguments as well,
and the gradients of these are the same three functions again (t is the incoming gradient):

    conv(x, w)               w.r.t. x: input_gradient(t, w)    w.r.t. w: weight_gradient(t, x)
    input_gradient(d, w)     w.r.t. d: conv(t, w)              w.r.t. w: weight_gradient(d, t)
    weight_gradient(d, x)    w.r.t. d: conv(x, t)              w.r.t. x: input_gradient(d, t)

PyTorch's own double backward computes weight_gradient(d, t) as a convolution of transposed tensors, dilated by the
stride, and then narrows the result. That takes more operations, on shapes for which libraries are slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gpgan.torch_private import engine_needs

aten = torch.ops.aten

Ints = int | Sequence[int]


class Geometry(NamedTuple):
    """The arguments of ``aten::convolution`` after the tensors, in its order."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needs: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The needed ones among the gradients of x, weight and bias. If only that of x is needed, x gives only its shape,
    and likewise for weight."""
    bias_sizes = [grad.shape[1]]
    return aten.convolution_backward(grad, x, weight, bias_sizes, *geometry, needs)  # type: ignore[no-any-return]


def _needed(ctx: Any, index: int) -> bool:
    """Whether the running backward needs the gradient of an argument. autograd.grad with respect to the samples does
    not need those of the weights; ``needs_input_grad`` does not tell."""
    return bool(ctx.needs_input_grad[index]) and engine_needs(ctx.next_functions[index][0])


def _apply(function: Any, *arguments: Any) -> Tensor:
    # The engine answers that question for every node but a leaf's.
    views = (a.view_as(a) if isinstance(a, Tensor) and a.requires_grad and a.is_leaf else a for a in arguments)
    return function.apply(*views)  # type: ignore[no-any-return]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return aten.convolution(x, weight, bias, *geometry)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None, None
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = (_needed(ctx, index) for index in range(3))
        if not torch.is_grad_enabled():
            return *_gradients(grad, x, weight, ctx.geometry, (by_x, by_weight, by_bias)), None
        return (
            _apply(_InputGradient, grad, weight, x.detach(), ctx.geometry) if by_x else None,
            _apply(_WeightGradient, grad, x, weight.detach(), ctx.geometry) if by_weight else None,
            grad.sum([0, *range(2, grad.dim())]) if by_bias else None,
            None,
        )


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, weight: Tensor, x: Tensor, geometry: Geometry) -> Tensor | None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, weight)
        ctx.geometry = geometry
        return _gradients(grad, x, weight, geometry, (True, False, False))[0]

    @staticmethod
    def backward(ctx: Any, tangent: Tensor | None) -> tuple[Tensor | None, ...]:
        if tangent is None:
            return None, None, None, None
        grad, weight = ctx.saved_tensors
        return (
            _apply(_Convolution, tangent, weight, None, ctx.geometry) if _needed(ctx, 0) else None,
            _apply(_WeightGradient, grad, tangent, weight.detach(), ctx.geometry) if _needed(ctx, 1) else None,
            None,
            None,
        )


class _WeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor | None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, x)
        ctx.geometry = geometry
        return _gradients(grad, x, weight, geometry, (False, True, False))[1]

    @staticmethod
    def backward(ctx: Any, tangent: Tensor | None) -> tuple[Tensor | None, ...]:
        if tangent is None:
            return None, None, None, None
        grad, x = ctx.saved_tensors
        return (
            _apply(_Convolution, x, tangent, None, ctx.geometry) if _needed(ctx, 0) else None,
            _apply(_InputGradient, grad, tangent, x.detach(), ctx.geometry) if _needed(ctx, 1) else None,
            None,
            None,
        )


def _list(value: Ints, n: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * n if len(values) == 1 else values


def _padding(padding: str | Ints, kernel: Sequence[int], dilation: list[int]) -> list[int] | None:
    """The padding in numbers; None if the two sides would differ."""
    if not isinstance(padding, str):
        return _list(padding, len(kernel))
    if padding == "valid":
        return [0] * len(kernel)
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return None if any(total % 2 for total in totals) else [total // 2 for total in totals]


class Call(NamedTuple):
    """The arguments of a call of one of PyTorch's convolutions."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    geometry: Geometry


def _conv(n: int) -> Callable[..., Call | None]:
    def conv(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Ints = 1,
        padding: str | Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
    ) -> Call | None:
        dilation = _list(dilation, n)
        numbers = _padding(padding, weight.shape[2:], dilation)
        if numbers is None or not input.dim() == n + 2 == weight.dim():
            return None
        return Call(input, weight, bias, Geometry(_list(stride, n), numbers, dilation, False, [0] * n, groups))

    return conv


def _conv_transpose(n: int) -> Callable[..., Call | None]:
    def conv_transpose(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        dilation: Ints = 1,
    ) -> Call | None:
        if not input.dim() == n + 2 == weight.dim():
            return None
        stride, padding, output_padding, dilation = (_list(v, n) for v in (stride, padding, output_padding, dilation))
        return Call(input, weight, bias, Geometry(stride, padding, dilation, True, output_padding, groups))

    return conv_transpose


# From a convolution's arguments to a Call; None leaves it to PyTorch: a sample without batch, or unequal padding.
CALLS: dict[Any, Callable[..., Call | None]] = {
    torch.conv1d: _conv(1),
    torch.conv2d: _conv(2),
    torch.conv3d: _conv(3),
    torch.conv_transpose1d: _conv_transpose(1),
    torch.conv_transpose2d: _conv_transpose(2),
    torch.conv_transpose3d: _conv_transpose(3),
}


def _replacement(read: Callable[..., Call | None]) -> Callable[..., Tensor]:
    def convolve(*args: Any, **kwargs: Any) -> Tensor:
        call = read(*args, **kwargs)
        if call is None or any(type(t) not in (Tensor, nn.Parameter, NoneType) for t in call[1:3]):
            return NotImplemented  # type: ignore[no-any-return]
        tensors: tuple[Tensor | None, ...] = call[:3]
        device = call.input.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            # As autocast does: float64 stays.
            tensors = tuple(t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors)
        return _apply(_Convolution, *tensors, call.geometry)

    return convolve


REPLACEMENTS: dict[Any, Callable[..., Any]] = {func: _replacement(read) for func, read in CALLS.items()}
