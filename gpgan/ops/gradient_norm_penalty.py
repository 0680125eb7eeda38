"""weight * reduce((|g| - target)^2), one norm per sample: schema, fake, autograd, autocast and vmap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gpgan.ops._checks import accumulate_dtype, check_penalty, check_samples
from gpgan.ops._layout import column, empty_rows, fold, lead, row_dot, unfold
from gpgan.ops._native import library, require_native

library.define(
    "gradient_norm_penalty(Tensor grads, float weight, float target, bool one_sided, str reduction) -> (Tensor, Tensor)"
)
# A gradient of None stands for zero.
library.define(
    "gradient_norm_penalty_backward(Tensor? grad_penalty, Tensor? grad_norms, Tensor grads, Tensor norms, "
    "float weight, float target, bool one_sided, str reduction) -> Tensor"
)
library.define(
    "gradient_norm_penalty_with_direction(Tensor grads, float weight, float target, bool one_sided, str reduction) "
    "-> (Tensor, Tensor, Tensor)"
)

_penalty = torch.ops.gpgan.gradient_norm_penalty.default
_penalty_backward = torch.ops.gpgan.gradient_norm_penalty_backward.default
_penalty_with_direction = torch.ops.gpgan.gradient_norm_penalty_with_direction.default


def gradient_norm_penalty(
    grads: Tensor,
    *,
    weight: float = 10.0,
    target: float = 1.0,
    one_sided: bool = False,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """weight * reduce((|g| - target)^2) over the samples of grads, and the norms; differentiable to any order.

    A sample's norm is over all its elements; at a norm of zero the subgradient is zero. NaN and Inf in a gradient
    propagate to the penalty.

    Args:
        grads: Gradients of the critic with respect to its input, ``[B, ...]``, float32, float16, bfloat16 or float64.
        weight: The factor of the penalty, 0 or more.
        target: The norm without penalty, 0 or more.
        one_sided: Count only norms above ``target``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        The penalty, a scalar, or ``[B]`` if the reduction is ``"none"``; and the norms ``[B]``. Both are float64 for
        float64 and float32 for every other dtype. The mean over an empty batch is NaN.

    Raises:
        TypeError, ValueError: An argument is of the wrong type, dtype or range.
        RuntimeError: The native library is not available for this device.

    Source:
        Gulrajani et al., arXiv 1704.00028, equation 3; one-sided: section 4.
    """
    check_samples("grads", grads)
    check_penalty(weight, target, reduction)
    require_native(grads.device)
    penalty, norms = _penalty(grads, float(weight), float(target), one_sided, reduction)
    return penalty, norms


def gradient_norm_penalty_with_direction(
    grads: Tensor,
    *,
    weight: float = 10.0,
    target: float = 1.0,
    one_sided: bool = False,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor, Tensor]:
    """The penalty, the norms and v = d penalty / d grads in one pass over memory, without an autograd graph.

    For schedules that propagate v through the critic themselves. Arguments and errors as in
    :func:`gradient_norm_penalty`.

    Returns:
        (penalty, norms, v), v ``[B, ...]`` in the dtype and memory format of ``grads``. With the reduction
        ``"none"``, v is the derivative of the sum.
    """
    check_samples("grads", grads)
    check_penalty(weight, target, reduction)
    require_native(grads.device)
    penalty, norms, direction = _penalty_with_direction(
        grads.detach(), float(weight), float(target), one_sided, reduction
    )
    return penalty, norms, direction


def _empty_results(grads: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    norms = grads.new_empty(grads.shape[0], dtype=accumulate_dtype(grads.dtype))
    return (torch.empty_like(norms) if reduction == "none" else norms.new_empty(())), norms


@torch.library.register_fake("gpgan::gradient_norm_penalty")
def _(grads: Tensor, weight: float, target: float, one_sided: bool, reduction: str) -> tuple[Tensor, Tensor]:
    return _empty_results(grads, reduction)


@torch.library.register_fake("gpgan::gradient_norm_penalty_with_direction")
def _(grads: Tensor, weight: float, target: float, one_sided: bool, reduction: str) -> tuple[Tensor, Tensor, Tensor]:
    return *_empty_results(grads, reduction), empty_rows(grads)


@torch.library.register_fake("gpgan::gradient_norm_penalty_backward")
def _(grad_penalty: Tensor | None, grad_norms: Tensor | None, grads: Tensor, *_: Any) -> Tensor:
    return empty_rows(grads)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    grads, *ctx.spec = inputs
    ctx.save_for_backward(grads, output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_penalty: Tensor | None, grad_norms: Tensor | None) -> tuple[Tensor | None, ...]:
    grads = None
    if grad_penalty is not None or grad_norms is not None:
        grads = _penalty_backward(grad_penalty, grad_norms, *ctx.saved_tensors, *ctx.spec)
    return grads, None, None, None, None


def _setup_context_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    tensors, ctx.spec = inputs[:4], inputs[4:]
    ctx.has = tensors[0] is not None, tensors[1] is not None
    ctx.save_for_backward(*(value for value in tensors if value is not None))


def _double_backward(ctx: Any, up: Tensor) -> tuple[Tensor | None, ...]:
    # The backward is out = c(n) g with c = (p s(n) + q) / n, c = 0 at n = 0. p and q are the gradients of penalty and
    # norms, s(n) = 2 k excess(n) is the slope, and k is the weight (divided by B for a mean). g and n are independent
    # arguments: n is itself a differentiable output of the forward. Differentiable operations only, for any order.
    weight, target, one_sided, reduction = ctx.spec
    *upstream, grads, norms = ctx.saved_tensors
    has_penalty, has_norms = ctx.has
    p = upstream[0].expand_as(norms) if has_penalty else torch.zeros_like(norms)
    q = upstream[-1] if has_norms else torch.zeros_like(norms)
    scale = 2 * weight / (norms.shape[0] if reduction == "mean" else 1)
    above = (norms > target).to(norms.dtype) if one_sided else torch.ones_like(norms)
    slope = scale * above * (norms - target)
    inverse = torch.where(norms == 0, 0, 1 / norms.where(norms != 0, 1))
    c = (p * slope + q) * inverse
    if target == 0:
        # weight |g|^2 is smooth at zero: there c g is zero, but its derivative is not.
        c = c.where(norms != 0, p * scale)
    dot = row_dot(up.to(norms.dtype), grads.to(norms.dtype))
    d_grads = (column(c, grads) * up).to(grads.dtype)
    d_norms = dot * (p * scale * above - c) * inverse
    d_penalty = dot * slope * inverse if has_penalty else None
    if d_penalty is not None and reduction != "none":
        d_penalty = d_penalty.sum()
    return d_penalty, dot * inverse if has_norms else None, d_grads, d_norms, None, None, None, None


torch.library.register_autograd("gpgan::gradient_norm_penalty", _backward, setup_context=_setup_context)
torch.library.register_autograd(
    "gpgan::gradient_norm_penalty_backward", _double_backward, setup_context=_setup_context_backward
)
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("gpgan::gradient_norm_penalty", _device, torch.float32)
    torch.library.register_autocast("gpgan::gradient_norm_penalty_with_direction", _device, torch.float32)


def _reduce(values: Tensor, reduction: str) -> Tensor:
    """values [batch, B] reduced over B."""
    return {"mean": values.mean, "sum": values.sum}[reduction](1) if reduction != "none" else values


@torch.library.register_vmap("gpgan::gradient_norm_penalty")
def _(
    info: Any, in_dims: tuple[int | None, ...], grads: Tensor, *spec: Any
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    *rest, reduction = spec
    values, norms = (
        unfold(info.batch_size, result)
        for result in _penalty(*fold(info.batch_size, in_dims[:1], [grads]), *rest, "none")
    )
    return (_reduce(values, reduction), norms), (0, 0)


@torch.library.register_vmap("gpgan::gradient_norm_penalty_backward")
def _(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
    grad_penalty, *tensors, weight, target, one_sided, reduction = args
    grad_norms, grads, norms = fold(info.batch_size, in_dims[1:4], tensors)
    if grad_penalty is not None:
        grad_penalty = lead(info.batch_size, in_dims[0], grad_penalty)
        if reduction != "none":
            samples = norms.shape[0] // info.batch_size
            grad_penalty = grad_penalty.unsqueeze(1).expand(-1, samples) / (samples if reduction == "mean" else 1)
        grad_penalty = grad_penalty.flatten()
    out = _penalty_backward(grad_penalty, grad_norms, grads, norms, weight, target, one_sided, "none")
    return unfold(info.batch_size, out), 0
