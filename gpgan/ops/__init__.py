"""The penalty's operators as native kernels; ``reference`` has the same functions in plain PyTorch."""

from gpgan.ops import reference
from gpgan.ops._native import cuda_architectures, native_available, why_not_native
from gpgan.ops.gradient_norm_penalty import gradient_norm_penalty, gradient_norm_penalty_with_direction
from gpgan.ops.interpolate import interpolate

__all__ = [
    "cuda_architectures",
    "gradient_norm_penalty",
    "gradient_norm_penalty_with_direction",
    "interpolate",
    "native_available",
    "reference",
    "why_not_native",
]
