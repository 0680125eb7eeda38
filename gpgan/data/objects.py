"""Data from Python code: "module:attribute"."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpgan.data.arrays import Array, dataset_of, limits
from gpgan.data.dataset import Dataset
from gpgan.data.paths import Progress, name_of
from gpgan.util.imports import find_attribute

WANTED = "a Dataset, a Tensor, a NumPy array, a torch Dataset with a length, or a function without arguments that returns one"


def load_object(data: str, progress: Progress | None = None) -> Dataset:
    """The data set that a module's attribute is, or returns when called.

    Tensors and arrays are laid out and scaled as those in files. The items of a torch Dataset, tensors or pairs of a
    tensor and a label, are stacked.

    Args:
        data: "module:attribute"; both may have dots.
        progress: Called with (items stacked, items in all).

    Raises:
        ValueError: There is no such module or attribute, or its values are not samples.
        TypeError: It is of another type.
    """
    value = find_attribute("data", data, WANTED)
    if callable(value) and not isinstance(value, (Tensor, torch.utils.data.Dataset)):
        try:
            inspect.signature(value).bind()
        except TypeError as error:
            raise TypeError(f"{data} cannot be called without arguments ({error}); expected {WANTED}") from error
        value = value()
    where, name = f"{data} holds", name_of(Path(data.partition(":")[2].replace(".", "-")))
    if isinstance(value, Dataset):
        limits(_array(value.stored), where)
        return value
    if isinstance(value, (Tensor, np.ndarray)):
        return dataset_of(_array(value), where, name)
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, Mapping):
        array, labels = _stacked(value, where, progress)
        return dataset_of(array, where, name, labels)
    raise TypeError(f"{data} is a {type(value).__name__}; expected {WANTED}")


def _array(value: Tensor | Array) -> Array:
    if not isinstance(value, Tensor):
        return value
    value = value.detach().cpu()
    # NumPy has no bfloat16.
    array: Array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return array


def _stacked(items: Any, where: str, progress: Progress | None) -> tuple[Array, Array | None]:
    """The items of a sequence and, if they are pairs, their labels."""
    samples: list[Array] = []
    labels: list[Any] = []
    for number in range(len(items)):
        item = items[number]
        if isinstance(item, (tuple, list)) and len(item) == 2:
            item, label = item
            labels.append(label.item() if isinstance(label, Tensor) and label.dim() == 0 else label)
        if not isinstance(item, (Tensor, np.ndarray)):
            raise TypeError(
                f"{where} a {type(item).__name__} as item {number}; expected tensors or arrays, or pairs of one "
                "and a label"
            )
        samples.append(_array(item))
        if samples[-1].shape != samples[0].shape:
            raise ValueError(
                f"{where} items of mixed sizes: item 0 has shape {samples[0].shape} and item {number} "
                f"{samples[-1].shape}; expected one shape: resize or crop them"
            )
        if progress:
            progress(number + 1, len(items))
    if not samples:
        raise ValueError(f"{where} no items; expected two or more")
    return np.stack(samples), np.array(labels) if labels else None
