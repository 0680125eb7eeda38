"""The choice between the native operators and their reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gpgan import ops
from gpgan.ops import reference
from gpgan.ops._checks import accumulate_dtype
from gpgan.util.warn import warn_once


class Backend(NamedTuple):
    """The operators of ``gpgan.ops`` without checks, for callers that have checked the arguments."""

    interpolate: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(real, fake, alpha) to points"""
    gradient_norm_penalty: Callable[[Tensor, float, float, bool, str], tuple[Tensor, Tensor]]
    """(grads, weight, target, one_sided, reduction) to (penalty, norms)"""
    gradient_norm_penalty_with_direction: Callable[[Tensor, float, float, bool, str], tuple[Tensor, Tensor, Tensor]]
    """the same arguments to (penalty, norms, direction)"""


def _interpolate(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    points: Tensor = torch.ops.gpgan.interpolate.default(real, fake, alpha.to(accumulate_dtype(real.dtype)))
    return points


NATIVE = Backend(
    _interpolate,
    torch.ops.gpgan.gradient_norm_penalty.default,
    torch.ops.gpgan.gradient_norm_penalty_with_direction.default,
)
REFERENCE = Backend(reference.between, reference.penalty_of, reference.penalty_and_direction_of)


def backend_for(impl: str, samples: Tensor) -> Backend:
    """The operators for ``impl`` on the device of samples.

    Raises:
        RuntimeError: ``impl`` is "native" and the native operators do not run on that device.
    """
    if impl == "reference":
        return REFERENCE
    if ops.native_available(samples.device):
        return NATIVE
    if impl == "native":
        raise RuntimeError(f'impl="native" cannot run on {samples.device}: {ops.why_not_native(samples.device)}')
    warn_once(f"gpgan runs its reference in plain PyTorch on {samples.device}: {ops.why_not_native(samples.device)}")
    return REFERENCE
