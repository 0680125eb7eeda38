"""Arrays at a chosen alignment between sentinels, and the kernels' dtypes in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

# NumPy has no bfloat16: its 16 bits are stored as an integer.
STORAGE = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16, "float64": np.float64}
_BORDER = 64  # bytes around an array; a multiple of the 16 that wide loads take


def accumulate(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def encode(values: NDArray[np.float64], dtype: str) -> NDArray[np.generic]:
    """float64 values rounded to dtype, in its storage."""
    if dtype != "bfloat16":
        return values.astype(STORAGE[dtype])
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)  # to nearest, ties to even


def decode(stored: NDArray[np.generic], dtype: str) -> NDArray[np.float64]:
    """Stored values as float64, exactly."""
    if dtype != "bfloat16":
        return stored.astype(np.float64)
    return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def tensor(values: NDArray[np.float64], dtype: str) -> torch.Tensor:
    """float64 values, which dtype must hold exactly, as a tensor of that dtype."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(getattr(torch, dtype))


class Placed:
    """An array whose first byte is ``shift`` elements past a multiple of 16, between bytes that must not change.

    Everything starts as 0xFF, which is NaN in every dtype: an input that is read past its end shows in the result, and
    so does an output element that was not written.
    """

    def __init__(self, shape: Sequence[int], dtype: str, shift: int = 0) -> None:
        self.dtype = dtype
        storage = np.dtype(STORAGE[dtype])
        size = int(np.prod(shape)) * storage.itemsize
        self._memory = np.full(size + 3 * _BORDER, 0xFF, np.uint8)
        self._begin = -self._memory.ctypes.data % 16 + _BORDER + shift * storage.itemsize
        self._end = self._begin + size
        self.array = self._memory[self._begin : self._end].view(storage).reshape(shape)

    @classmethod
    def holding(cls, values: NDArray[np.float64], dtype: str, shift: int = 0) -> Placed:
        placed = cls(values.shape, dtype, shift)
        placed.array[...] = encode(values, dtype)
        return placed

    @property
    def values(self) -> NDArray[np.float64]:
        return decode(self.array, self.dtype)

    @property
    def bits(self) -> bytes:
        return self.array.tobytes()

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever written to it."""
        return bool((self._memory == 0xFF).all())

    def check_border(self) -> None:
        """Raises if a byte outside the array was written."""
        before, behind = self._memory[: self._begin], self._memory[self._end :]
        assert (before == 0xFF).all(), "written before its first element"
        assert (behind == 0xFF).all(), "written after its last element"
