"""The choice between the native operators and their reference."""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from gpgan import ops
from gpgan.ops import reference
from gpgan.util.warn import warn_once


def backend_for(impl: str, samples: Tensor | None) -> ModuleType:
    """The module whose operators run: ``gpgan.ops`` or its reference."""
    if impl == "reference" or not isinstance(samples, Tensor):
        return reference
    if ops.native_available(samples.device):
        return ops
    if impl == "native":
        raise RuntimeError(f'impl="native" cannot run on {samples.device}: {ops.why_not_native(samples.device)}')
    warn_once(f"gpgan runs its reference in plain PyTorch on {samples.device}: {ops.why_not_native(samples.device)}")
    return reference
