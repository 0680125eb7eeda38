"""Makes a data set from an array: its range and its labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpgan.data.dataset import BLOCK_BYTES, Dataset
from gpgan.data.layout import layout
from gpgan.data.scaling import bounds, narrow_note

Array = np.ndarray[Any, Any]


def dataset_of(
    array: Array, where: str, name: str, labels: Array | None = None, held_out: Sequence[Array] = ()
) -> Dataset:
    """The data set of an array; it shares the array's memory if torch supports the type.

    Layout: ``[N, D]`` are points. ``[N, A, B]`` are signals of A channels if A is at most 16 and B at least 8 A, else
    images of one channel. ``[N, A, H, W]`` are images of A channels if A is at most 16, else volumes of one channel and
    depth A. ``[N, C, D, H, W]`` are volumes.

    Args:
        array: Integers or floats.
        where: Begins the error messages, e.g. "photos.npy holds".
        name: Of the data set.
        labels: One per sample, those of ``held_out`` last, as for ``classes_of``.
        held_out: Arrays of samples that are never trained on.

    Raises:
        ValueError: An array has the wrong type, shape or values.
    """
    check_type(array.dtype, where)
    shape, notes = layout(array.shape, where)
    for test in held_out:
        if (test.dtype, test.shape[1:]) != (array.dtype, array.shape[1:]):
            raise ValueError(
                f"{where} samples of {array.dtype} and shape {array.shape[1:]}, and a test set with {test.dtype} and "
                f"{test.shape[1:]}; expected the same"
            )
    aside = np.concatenate(held_out).reshape(-1, *shape[1:]) if held_out else array.reshape(shape)[:0]
    _check_finite(aside, where)
    mapped = getattr(array, "_mmap", None)
    array = array.reshape(shape)
    lows, highs = limits(array, where)
    low, high = float(lows.min()), float(highs.max())
    bottom, top = bounds(array.dtype, low, high)
    scale, offset = top / 2 - bottom / 2, top / 2 + bottom / 2
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{where} values from {low} to {high}, which cannot be scaled; expected a smaller range")
    numbers, classes = (None, ()) if labels is None else classes_of(labels, len(array) + len(aside), where)
    dataset = Dataset(
        name,
        _tensor(array),
        scale,
        offset,
        labels=None if numbers is None else numbers[: len(array)],
        classes=classes,
        held_out=_tensor(aside) if len(aside) else None,
        held_out_labels=numbers[len(array) :] if numbers is not None and len(aside) else None,
        notes=notes + narrow_note(lows, highs, top - bottom, "column" if len(shape) == 2 else "channel"),
        mapped=mapped,
    )
    ends = torch.from_numpy(np.array([low, high]).astype(dataset.stored.numpy().dtype))
    if not dataset.scaled(ends).isfinite().all():
        raise ValueError(f"{where} values from {low} to {high}, which cannot be scaled; expected a smaller range")
    return dataset


def check_type(dtype: np.dtype[Any], where: str) -> None:
    """Raises ValueError unless values of this type are integers or floats."""
    if dtype.kind not in "fiu":
        raise ValueError(f"{where} {dtype} values; expected floats or integers: convert with array.astype('float32')")


def are_labels(array: Array, count: int) -> bool:
    """Whether an array can be the labels of ``count`` samples: integers or words, ``[count]`` or ``[count, 1]``."""
    return array.dtype.kind in "iubU" and array.shape in ((count,), (count, 1))


def check_labels(labels: Array, count: int, where: str) -> Array:
    """Labels as ``[count]``.

    Raises:
        ValueError: They are not as in ``are_labels``.
    """
    if are_labels(labels, count):
        return labels.reshape(count)
    fix = ""
    if labels.ndim == 2 and len(labels) == count:
        fix = ": labels.argmax(1), if they are one-hot"
    elif labels.dtype.kind == "f":
        fix = ": labels.astype(int), or leave them out"
    raise ValueError(
        f"{where} labels of type {labels.dtype} and shape {labels.shape}; expected integers or words, one per sample: "
        f"({count},){fix}"
    )


def classes_of(labels: Array, count: int, where: str) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels numbered from 0, int64 ``[count]``, and their names, sorted by value; None and () if all are equal.

    Args:
        labels: Integers or words, ``[count]`` or ``[count, 1]``.
        count: The number of samples.
        where: Begins the error messages.

    Raises:
        ValueError: The labels have the wrong type or length.
    """
    values, numbers = np.unique(check_labels(labels, count, where), return_inverse=True)
    if len(values) == 1:
        return None, ()
    return torch.from_numpy(numbers.astype(np.int64)), tuple(str(value) for value in values)


def limits(array: Array, where: str) -> tuple[Array, Array]:
    """The smallest and largest value of each column or channel ``[C]``, read block by block.

    Args:
        array: ``[N, C, ...]``.
        where: Begins the error messages.

    Raises:
        ValueError: There are fewer than two samples, some values are not finite, or all values are equal.
    """
    if len(array) < 2:
        raise ValueError(
            f"{where} {'one sample' if len(array) else 'no samples'}; expected two or more, along the first axis"
        )
    axes = None if array.shape[1] == 1 else (0, *range(2, array.ndim))
    found = [(np.atleast_1d(block.min(axes)), np.atleast_1d(block.max(axes))) for block in _blocks(array)]
    # Not as Python floats: neighbouring large integers would be equal.
    lows, highs = (np.stack(each) for each in zip(*found, strict=True))
    lows, highs = lows.min(0), highs.max(0)
    # A NaN among the values makes the smallest and the largest one NaN.
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
        _check_finite(array, where)
    if lows.min() == highs.max():
        raise ValueError(f"{where} only the value {lows.min()}; expected samples that differ")
    return lows, highs


def _check_finite(array: Array, where: str) -> None:
    if array.dtype.kind != "f":
        return
    bad = sum(int(block.size - np.count_nonzero(np.isfinite(block))) for block in _blocks(array))
    if bad:
        raise ValueError(f"{where} {bad} NaN or infinite values; expected finite ones: remove them")


def _blocks(array: Array) -> list[Array]:
    rows = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    return [np.asarray(array[first : first + rows]) for first in range(0, len(array), rows)]


def _tensor(array: Array) -> Tensor:
    known = np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    array = np.asarray(array, known)
    # torch supports neither negative strides nor read-only memory.
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)
