"""Checks of arguments, shared by the native operators, their reference and the penalty."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
REDUCTIONS = ("mean", "sum", "none")


def accumulate_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums over a sample: float64 for float64, float32 for every other dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_samples(name: str, value: Tensor) -> None:
    """Raises unless value is a dense tensor of real floating point numbers with a batch dimension."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a torch.Tensor of shape [B, ...]")
    check_dense(name, value)
    if value.dtype not in DTYPES:
        raise TypeError(
            f"{name} has dtype {value.dtype}; expected one of float32, float16, bfloat16, float64: convert it, e.g. {name}.float()"
        )
    if value.dim() == 0:
        raise ValueError(f"{name} is a scalar; expected shape [B, ...], one row per sample")


def check_dense(name: str, value: Tensor) -> None:
    """Raises if value is sparse, nested or in the layout of a library."""
    if value.layout != torch.strided or value.is_nested:
        layout, dense = (
            ("is a nested tensor", "to_padded_tensor(0.0)")
            if value.is_nested
            else (f"has layout {value.layout}", "to_dense()")
        )
        raise TypeError(f"{name} {layout}; expected torch.strided, a dense tensor: pass {name}.{dense}")


def check_same(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raises unless value has the shape, dtype and device of other, whose own checks have passed."""
    alike = isinstance(value, Tensor) and value.dtype == other.dtype and value.layout == other.layout
    if not alike or value.is_nested or value.dim() == 0:
        check_samples(name, value)
    for what in ("shape", "dtype", "device"):
        came, expected = getattr(value, what), getattr(other, what)
        if came != expected:
            error = TypeError if what == "dtype" else ValueError
            if what == "shape":
                came, expected = tuple(came), tuple(expected)
            fix = f": {name}.to({other_name}.{what})" if what != "shape" else ""
            raise error(
                f"{name} has {what} {came} and {other_name} has {expected}; expected the same {what} for both{fix}"
            )


def check_alpha(alpha: Tensor, samples: Tensor) -> None:
    """Raises unless alpha is a floating point tensor [B] on the device of samples [B, ...]."""
    if not isinstance(alpha, Tensor):
        raise TypeError(
            f"alpha is a {type(alpha).__name__}; expected a torch.Tensor of shape [B], one number per sample"
        )
    check_dense("alpha", alpha)
    if not alpha.dtype.is_floating_point:
        raise TypeError(f"alpha has dtype {alpha.dtype}; expected floating point")
    if alpha.dim() != 1 or alpha.shape[0] != samples.shape[0]:
        raise ValueError(
            f"alpha has shape {tuple(alpha.shape)}; expected ({samples.shape[0]},): one number per sample, neither per batch nor per element"
        )
    if alpha.device != samples.device:
        raise ValueError(
            f"alpha is on {alpha.device} and the samples are on {samples.device}; expected the same device"
        )


def check_penalty(weight: float, target: float, reduction: str) -> None:
    """Raises unless weight and target are finite and not negative and reduction is a known name."""
    for name, value in (("weight", weight), ("target", target)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} is a {type(value).__name__}; expected a float")
        try:
            number = float(value)
        except OverflowError:  # an int too large for a float
            number = math.inf
        if not 0 <= number < math.inf:
            raise ValueError(f"{name} is {number}; expected a finite number, zero or above")
    check_reduction(reduction)


def check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}; expected one of {', '.join(map(repr, REDUCTIONS))}")
