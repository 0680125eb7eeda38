"""What the functions of several metrics expect of features."""

from __future__ import annotations

from torch import Tensor


def check_pair(x: Tensor, y: Tensor, least: int = 1, names: tuple[str, str] = ("x", "y")) -> None:
    """Raises ValueError unless x and y are finite ``[N, d]`` and ``[M, d]``, N and M at least ``least``."""
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or not x.shape[1] or min(len(x), len(y)) < least:
        raise ValueError(
            f"{names[0]} has shape {tuple(x.shape)} and {names[1]} {tuple(y.shape)}; expected [N, d] and [M, d], N and M at "
            f"least {least}"
        )
    for name, features in zip(names, (x, y), strict=True):
        check_finite(name, features)


def check_finite(name: str, features: Tensor) -> None:
    """Raises ValueError if features hold NaN or infinite values."""
    if not features.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite values; expected finite ones")
