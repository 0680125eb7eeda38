"""A user's own array."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpgan.data.dataset import Dataset

WANTED = "wanted vectors [N, D] or images [N, H, W] or [N, C, H, W]"
# The largest number of channels: more of them than this mean that the channels came last.
CHANNELS_MAX = 16


def load_npy(path: Path) -> Dataset:
    """Samples from a ``.npy`` file: vectors ``[N, D]``, or images ``[N, H, W]`` or ``[N, C, H, W]``.

    The values are scaled to [-1, 1]: unsigned bytes from 0..255, floats from [0, 1] where they lie in it and not at all
    where they lie in [-1, 1], all others (bytes that are only 0 and 1 among them) from the smallest and largest value of
    the whole array. Nothing in the file is executed.

    Raises:
        ValueError: The file is missing, empty, no ``.npy``, or its array has the wrong type, shape or values.
    """
    array = _read(path)
    if array.dtype.kind not in "fiu":
        raise ValueError(
            f"{path} holds {array.dtype} values; wanted floats or integers: convert with array.astype('float32')"
        )
    if array.ndim not in (2, 3, 4):
        raise ValueError(f"{path} holds an array of shape {array.shape}; {WANTED}")
    if 0 in array.shape:
        raise ValueError(f"{path} holds an array of shape {array.shape}, which has no values; {WANTED}")
    if array.ndim == 4 and array.shape[1] > CHANNELS_MAX:
        raise ValueError(
            f"{path} holds an array of shape {array.shape}, {array.shape[1]} channels; wanted [N, C, H, W] with at most "
            f"{CHANNELS_MAX}: if the channels come last, array.transpose(0, 3, 1, 2)"
        )
    if len(array) < 2:
        raise ValueError(f"{path} holds one sample; wanted two or more, along the first axis")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{path} holds {int((~np.isfinite(array)).sum())} NaN or infinite values; wanted finite ones: remove them"
        )

    low, high = _range(array)
    if array.min() == array.max():
        raise ValueError(f"{path} holds only the value {array.flat[0]}; wanted samples that differ")
    scale, offset = high / 2 - low / 2, high / 2 + low / 2
    with np.errstate(over="ignore", invalid="ignore"):
        samples = torch.from_numpy(((array - offset) / scale).astype(np.float32))
    if not (math.isfinite(scale) and bool(samples.isfinite().all())):
        raise ValueError(f"{path} holds values from {low} to {high}, which cannot be scaled; wanted a smaller range")
    if samples.dim() == 3:
        samples = samples.unsqueeze(1)
    name = re.sub(r"[^\w.-]+", "-", path.stem).strip(".-") or "data"
    return Dataset(name, samples.contiguous(), scale, offset)


def _read(path: Path) -> np.ndarray[Any, Any]:
    if not path.exists():
        raise ValueError(f"{path} does not exist; wanted a .npy file")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; wanted a .npy file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; wanted a .npy file, as written by numpy.save")
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # A damaged file fails in as many ways as zip, header and array have parsers.
        raise ValueError(
            f"{path} cannot be read ({_first_line(error)}); wanted a .npy file, as written by numpy.save"
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is an archive; wanted one array in a .npy file, as written by numpy.save")
    return array


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _range(array: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The values that become -1 and 1."""
    low, high = float(array.min()), float(array.max())
    if array.dtype == np.uint8 and high > 1:
        return 0.0, 255.0
    if array.dtype.kind == "f" and low >= -1 and high <= 1:
        return (0.0, 1.0) if low >= 0 else (-1.0, 1.0)
    return low, high
