"""Dtypes, row lengths and inputs that every kernel is tested with, and the comparison of its results."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from placed import STORAGE, Placed, decode, encode
from tolerances import tolerance

Array = NDArray[np.float64]

DTYPES = tuple(STORAGE)
# Row lengths in bytes: one for each of the three regimes of CUDA, and one that the CPU's threads share.
REGIMES = (100, 8 << 10, 72 << 10, 264 << 10)


def lengths(dtype: str) -> list[int]:
    """Row lengths in elements: tiny, odd, and on both sides of the lengths at which a kernel changes its scheme."""
    size = np.dtype(STORAGE[dtype]).itemsize
    pack = 16 // size
    # Bytes from which CUDA uses 2 ... 32 lanes, a block or several blocks per row; and exactly two chunks of 32 KiB.
    borders = [64 << i for i in range(7)] + [48 << 10, 64 << 10]
    found = {1, 2, 3, 5, 31, 33, 127, 1000, 8191, 8192, 8193}  # the CPU sums in spans of 8192 elements
    for border in borders:
        found |= {border // size + d for d in ((-1, 0, 1, pack) if border >= 4 << 10 else (0, 1))}
    long_row = (256 << 10) // size  # where the CPU's threads begin to share a row
    return sorted(found | {long_row, long_row + 1, long_row + pack})


EACH_LENGTH = [(dtype, length) for dtype in DTYPES for length in lengths(dtype)]
EACH_REGIME = [(dtype, bytes_ // np.dtype(STORAGE[dtype]).itemsize) for dtype in DTYPES for bytes_ in REGIMES]


def batches(length: int) -> Iterable[int]:
    return (1, 3, 70) if length <= 1100 else (1, 3)


def normal(*shape: int, of: str, scale: float = 1.0, dtype: str) -> Array:
    """Reproducible normal numbers rounded to dtype; each name ``of`` gives another draw."""
    values = np.random.default_rng(zlib.crc32(of.encode())).standard_normal(shape, np.float32) * scale
    return decode(encode(np.asarray(values, np.float64), dtype), dtype)


def close(actual: Placed, exact: Array, dtype: str | None = None, scale: float = 0.0) -> None:
    """Asserts that a result is within the tolerance of dtype, by default its own; scale: the size of canceling terms."""
    limits = tolerance(dtype or actual.dtype)
    np.testing.assert_allclose(
        actual.values, exact, rtol=limits["rtol"], atol=limits["atol"] + limits["rtol"] * scale, equal_nan=True
    )
    actual.check_border()
