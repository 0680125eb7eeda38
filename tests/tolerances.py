"""The only table of tolerances, by dtype, and the two comparisons that use it."""

from __future__ import annotations

import torch
from torch import Tensor

# (relative, absolute) error of a result of this dtype against the result in float64 from the same inputs.
# float32 sums over rows of up to about 100000 elements have tens of roundings of 6e-8. Results in half precision are
# computed in float32 and rounded once, so only that rounding is allowed.
TOLERANCES = {
    "float64": (1e-11, 1e-13),
    "float32": (1e-5, 1e-6),
    "float16": (1e-3, 1e-6),
    "bfloat16": (8e-3, 1e-6),
}


def tolerance(dtype: torch.dtype | str) -> dict[str, float]:
    """``rtol`` and ``atol`` of a dtype, given as torch.dtype or by name, for torch.testing or numpy.testing."""
    rtol, atol = TOLERANCES[str(dtype).removeprefix("torch.")]
    return {"rtol": rtol, "atol": atol}


def assert_near(actual: Tensor, exact: Tensor, terms: float | Tensor = 0.0) -> None:
    """Raises unless actual equals exact within the tolerance of its dtype. NaN equals NaN.

    terms: the size of the terms, if actual is a sum with cancellation. Rounding is relative to it.
    """
    limits = tolerance(actual.dtype)
    limits["atol"] = max(limits["atol"], limits["rtol"] * float(terms))
    torch.testing.assert_close(actual.double(), exact.double(), equal_nan=True, check_device=False, **limits)


def assert_as_good(actual: Tensor, plain: Tensor, exact: Tensor) -> None:
    """Raises unless the largest error of actual is at most twice that of plain, the result of plain PyTorch.

    exact: the result in float64. One rounding of the largest element is allowed, as plain may happen to be exact.
    """
    exact = exact.detach().double()

    def error(value: Tensor) -> float:
        return float((value.detach().double() - exact).abs().max())

    one_rounding = torch.finfo(actual.dtype).eps / 2 * float(exact.abs().max())
    assert error(actual) <= max(2 * error(plain), one_rounding)
