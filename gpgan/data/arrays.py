"""Makes a data set from an array: its layout, its range and its labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpgan.data.dataset import BLOCK_BYTES, Dataset
from gpgan.data.kinds import ARRAYS, CHANNELS_MAX, stored_shape

Array = np.ndarray[Any, Any]


def dataset_of(array: Array, where: str, name: str, labels: Array | None = None) -> Dataset:
    """The data set of an array; it shares the array's memory if torch supports the type.

    Layout: ``[N, D]`` are points. ``[N, A, B]`` are signals of A channels if A is at most 16 and B at least 8 A, else
    images of one channel. ``[N, A, H, W]`` are images of A channels if A is at most 16, else volumes of one channel and
    depth A. ``[N, C, D, H, W]`` are volumes.

    Args:
        array: Integers or floats.
        where: Begins the error messages, e.g. "photos.npy holds".
        name: Of the data set.
        labels: One per sample, as for ``classes_of``.

    Raises:
        ValueError: The array has the wrong type, shape or values.
    """
    if array.dtype.kind not in "fiu":
        raise ValueError(
            f"{where} {array.dtype} values; expected floats or integers: convert with array.astype('float32')"
        )
    shape = _stored_shape(array.shape, where)
    low, high = limits(array, where)
    bottom, top = _range(array.dtype, low, high)
    scale, offset = top / 2 - bottom / 2, top / 2 + bottom / 2
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{where} values from {low} to {high}, which cannot be scaled; expected a smaller range")
    known = np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    array = np.asarray(array, known)
    # torch supports neither negative strides nor read-only memory.
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    stored = torch.from_numpy(array)
    tensor, classes = (None, ()) if labels is None else classes_of(labels, len(array), where)
    dataset = Dataset(name, stored.reshape(shape), scale, offset, labels=tensor, classes=classes)
    if not dataset.scaled(torch.from_numpy(np.array([low, high]).astype(array.dtype))).isfinite().all():
        raise ValueError(f"{where} values from {low} to {high}, which cannot be scaled; expected a smaller range")
    return dataset


def classes_of(labels: Array, count: int, where: str) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels numbered from 0, int64 ``[count]``, and their names, sorted by value; None and () if all are equal.

    Args:
        labels: Integers or words, ``[count]`` or ``[count, 1]``.
        count: The number of samples.
        where: Begins the error messages.

    Raises:
        ValueError: The labels have the wrong type or length.
    """
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.dtype.kind not in "iubU" or labels.shape != (count,):
        raise ValueError(
            f"{where} labels of type {labels.dtype} and shape {labels.shape}; expected integers or words, one per "
            f"sample: ({count},)"
        )
    values, numbers = np.unique(labels, return_inverse=True)
    if len(values) == 1:
        return None, ()
    return torch.from_numpy(numbers.astype(np.int64)), tuple(str(value) for value in values)


def limits(array: Array, where: str) -> tuple[float, float]:
    """The smallest and largest value, read block by block.

    Raises:
        ValueError: There are fewer than two samples, some values are not finite, or all values are equal.
    """
    if len(array) < 2:
        raise ValueError(f"{where} one sample; expected two or more, along the first axis")
    rows = max(1, BLOCK_BYTES // max(1, array[0].nbytes))
    low, high, bad = None, None, 0
    for first in range(0, len(array), rows):
        block = np.asarray(array[first : first + rows])
        if block.dtype.kind == "f":
            bad += int(block.size - np.count_nonzero(np.isfinite(block)))
        # NumPy scalars: as Python floats, neighbouring large integers would be equal.
        least, most = block.min(), block.max()
        low, high = (least, most) if low is None else (min(low, least), max(high, most))
    if bad:
        raise ValueError(f"{where} {bad} NaN or infinite values; expected finite ones: remove them")
    if low == high:
        raise ValueError(f"{where} only the value {low}; expected samples that differ")
    return float(low), float(high)  # type: ignore[arg-type]


def _stored_shape(shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    if 0 in shape:
        raise ValueError(f"{where} an array of shape {shape}, which has no values; expected {ARRAYS}")
    many = len(shape) > 1 and shape[1] > CHANNELS_MAX
    if len(shape) in (4, 5) and shape[-1] in (1, 3, 4) and many:
        axes = "0, 3, 1, 2" if len(shape) == 4 else "0, 4, 1, 2, 3"
        raise ValueError(
            f"{where} an array of shape {shape}, apparently with its {shape[-1]} channels last; expected "
            f"{'[N, C, H, W]' if len(shape) == 4 else '[N, C, D, H, W]'}: array.transpose({axes})"
        )
    if len(shape) == 5 and many:
        raise ValueError(
            f"{where} an array of shape {shape}, {shape[1]} channels; expected [N, C, D, H, W] with at most {CHANNELS_MAX}"
        )
    stored = stored_shape(shape)
    if stored is None:
        raise ValueError(f"{where} an array of shape {shape}; expected {ARRAYS}")
    return stored


def _range(dtype: np.dtype[Any], low: float, high: float) -> tuple[float, float]:
    """The values that become -1 and 1."""
    if dtype == np.uint8 and high > 1:
        return 0.0, 255.0
    if dtype.kind == "f" and low >= -1 and high <= 1:
        return (0.0, 1.0) if low >= 0 else (-1.0, 1.0)
    return low, high
