"""The operators in plain PyTorch: the reference for the native kernels, and the fallback without them.

Names, arguments, results and dtypes are those of ``gpgan.ops``. Everything is made of differentiable PyTorch operations,
so derivatives of any order work.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.ops._checks import accumulate_dtype, check_alpha, check_penalty, check_same, check_samples


def interpolate(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """As :func:`gpgan.ops.interpolate`."""
    check_samples("real", real)
    check_same("fake", fake, "real", real)
    check_alpha(alpha, real)
    return between(real, fake, alpha)


def between(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """``interpolate`` without its checks."""
    real, fake = _autocast(real), _autocast(fake)
    acc = accumulate_dtype(real.dtype)
    alpha = alpha.to(acc).reshape(-1, *[1] * (real.dim() - 1))
    return (alpha * real.to(acc) + (1 - alpha) * fake.to(acc)).to(real.dtype)


def gradient_norm_penalty(
    grads: Tensor,
    *,
    weight: float = 10.0,
    target: float = 1.0,
    one_sided: bool = False,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """As :func:`gpgan.ops.gradient_norm_penalty`."""
    check_samples("grads", grads)
    check_penalty(weight, target, reduction)
    return penalty_of(grads, weight, target, one_sided, reduction)


def penalty_of(grads: Tensor, weight: float, target: float, one_sided: bool, reduction: str) -> tuple[Tensor, Tensor]:
    """``gradient_norm_penalty`` without its checks."""
    grads = _autocast(grads)
    # vector_norm has the subgradient zero at zero. The trailing dimension makes it work for a [B] input without a flatten.
    norms = torch.linalg.vector_norm(
        grads.unsqueeze(-1), dim=list(range(1, grads.dim() + 1)), dtype=accumulate_dtype(grads.dtype)
    )
    if target == 0:
        # The same value, smooth at zero, where the norm's second derivative would be lost.
        penalty = weight * (grads.to(norms.dtype).square()).unsqueeze(-1).flatten(1).sum(1)
    else:
        excess = norms - target
        penalty = weight * (excess.clamp(min=0) if one_sided else excess).square()
    if reduction != "none":
        penalty = penalty.mean() if reduction == "mean" else penalty.sum()
    return penalty, norms


def gradient_norm_penalty_with_direction(
    grads: Tensor,
    *,
    weight: float = 10.0,
    target: float = 1.0,
    one_sided: bool = False,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`gpgan.ops.gradient_norm_penalty_with_direction`."""
    check_samples("grads", grads)
    check_penalty(weight, target, reduction)
    return penalty_and_direction_of(grads, weight, target, one_sided, reduction)


def penalty_and_direction_of(
    grads: Tensor, weight: float, target: float, one_sided: bool, reduction: str
) -> tuple[Tensor, Tensor, Tensor]:
    """``gradient_norm_penalty_with_direction`` without its checks."""
    with torch.enable_grad():
        leaf = _autocast(grads).detach()
        leaf = (leaf.clone() if leaf.is_inference() else leaf).requires_grad_()
        penalty, norms = penalty_of(leaf, weight, target, one_sided, reduction)
        (direction,) = torch.autograd.grad(penalty.sum(), leaf)
    return penalty.detach(), norms.detach(), direction


def _autocast(samples: Tensor) -> Tensor:
    """The argument as autocast passes it to the native operators: float32 for every dtype except float64."""
    if torch.is_autocast_enabled(samples.device.type) and samples.dtype != torch.float64:
        return samples.float()
    return samples
