"""x = alpha * real + (1 - alpha) * fake, one alpha per sample: schema, fake, autograd, autocast and vmap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gpgan.ops._checks import accumulate_dtype, check_alpha, check_same, check_samples
from gpgan.ops._layout import column, empty_rows, fold, row_dot, unfold
from gpgan.ops._native import library, require_native

library.define("interpolate(Tensor real, Tensor fake, Tensor alpha) -> Tensor")
# An output that output_mask leaves out is returned without elements.
library.define(
    "interpolate_backward(Tensor grad, Tensor real, Tensor fake, Tensor alpha, bool[3] output_mask) -> (Tensor, Tensor, Tensor)"
)

_interpolate = torch.ops.gpgan.interpolate.default
_interpolate_backward = torch.ops.gpgan.interpolate_backward.default


def interpolate(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """alpha * real + (1 - alpha) * fake with one alpha per sample, fused; differentiable to any order.

    Args:
        real: ``[B, ...]``, float32, float16, bfloat16 or float64.
        fake: The same shape, dtype and device as ``real``.
        alpha: ``[B]``, floating point. Its range is not checked.

    Returns:
        ``[B, ...]`` in the dtype and memory format of ``real``; computed in float32 for half precision. Under autocast
        the result is float32.

    Raises:
        TypeError, ValueError: An argument is of the wrong type, shape, dtype or device.
        RuntimeError: The native library is not available for this device.
    """
    check_samples("real", real)
    check_same("fake", fake, "real", real)
    check_alpha(alpha, real)
    require_native(real.device)
    result: Tensor = _interpolate(real, fake, alpha.to(accumulate_dtype(real.dtype)))
    return result


@torch.library.register_fake("gpgan::interpolate")
def _(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    return empty_rows(real)


@torch.library.register_fake("gpgan::interpolate_backward")
def _(
    grad: Tensor, real: Tensor, fake: Tensor, alpha: Tensor, output_mask: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    for_real, for_fake, for_alpha = output_mask
    return (
        empty_rows(grad) if for_real else grad.new_empty(0),
        empty_rows(grad) if for_fake else grad.new_empty(0),
        torch.empty_like(alpha) if for_alpha else alpha.new_empty(0),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:3])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    mask = list(ctx.needs_input_grad)
    grads = _interpolate_backward(grad, *ctx.saved_tensors, mask)
    return tuple(value if needed else None for value, needed in zip(grads, mask, strict=True))


def _setup_context_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.set_materialize_grads(False)


def _double_backward(
    ctx: Any, up_real: Tensor | None, up_fake: Tensor | None, up_alpha: Tensor | None
) -> tuple[Tensor | None, ...]:
    # grad_real = alpha grad, grad_fake = (1 - alpha) grad, grad_alpha = <grad, real - fake>. Differentiable operations
    # only, for derivatives of any order.
    grad, real, fake, alpha = ctx.saved_tensors
    acc = alpha.dtype
    d_grad = torch.zeros_like(grad, dtype=acc)
    d_real = d_fake = d_alpha = None
    if up_real is not None and up_real.numel():
        d_grad = d_grad + column(alpha, grad) * up_real
        d_alpha = row_dot(grad.to(acc), up_real)
    if up_fake is not None and up_fake.numel():
        d_grad = d_grad + column(1 - alpha, grad) * up_fake
        d_alpha = (0 if d_alpha is None else d_alpha) - row_dot(grad.to(acc), up_fake)
    if up_alpha is not None and up_alpha.numel():
        d_grad = d_grad + column(up_alpha, grad) * (real.to(acc) - fake)
        d_real = (column(up_alpha, grad) * grad).to(real.dtype)
        d_fake = -d_real
    return d_grad.to(grad.dtype), d_real, d_fake, d_alpha, None


torch.library.register_autograd("gpgan::interpolate", _backward, setup_context=_setup_context)
torch.library.register_autograd("gpgan::interpolate_backward", _double_backward, setup_context=_setup_context_backward)
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("gpgan::interpolate", _device, torch.float32)


@torch.library.register_vmap("gpgan::interpolate")
def _(info: Any, in_dims: tuple[int | None, ...], *args: Tensor) -> tuple[Tensor, int]:
    return unfold(info.batch_size, _interpolate(*fold(info.batch_size, in_dims, args))), 0


@torch.library.register_vmap("gpgan::interpolate_backward")
def _(
    info: Any, in_dims: tuple[int | None, ...], *args: Any
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int]]:
    *tensors, mask = args
    grads = _interpolate_backward(*fold(info.batch_size, in_dims[:4], tensors), mask)
    real, fake, alpha = (
        unfold(info.batch_size, grad) if needed else grad.expand(info.batch_size, 0)
        for grad, needed in zip(grads, mask, strict=True)
    )
    return (real, fake, alpha), (0, 0, 0)
