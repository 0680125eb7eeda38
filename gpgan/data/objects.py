"""Data from Python code: "module:attribute"."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpgan.data.arrays import Array, dataset_of, limits
from gpgan.data.dataset import Dataset
from gpgan.data.named import dataset_of_named
from gpgan.data.paths import Progress, name_of
from gpgan.util import random_states
from gpgan.util.errors import first_line
from gpgan.util.imports import find_attribute

WANTED = (
    "a Dataset, a Tensor, a NumPy array, a pair (X, y) or a dict of them, a torch Dataset with a length, or a function "
    "without arguments that returns one"
)
# Whatever the seed of a run: code that draws random numbers gives the same samples in every run.
SEED = 0


def load_object(data: str, progress: Progress | None = None) -> Dataset:
    """The data set that a module's attribute is, or returns when called.

    Tensors and arrays are laid out and scaled as those in files. The items of a torch Dataset, tensors or pairs of a
    tensor and a label, are stacked. Pairs (X, y), two of them for training and testing, and dicts are read by
    ``dataset_of_named``. The code runs with fixed random states, which are restored afterwards.

    Args:
        data: "module:attribute"; both may have dots.
        progress: Called with (items stacked, items in all).

    Raises:
        ValueError: There is no such module or attribute, or its values are not samples.
        TypeError: It is of another type.
    """
    with random_states.borrowed():
        random_states.seed(SEED)
        value = find_attribute("data", data, WANTED)
        # Again: a module that is already imported draws nothing.
        random_states.seed(SEED)
        before = random_states.capture()
        dataset = _load(value, data, progress)
        drew = not random_states.same(before, random_states.capture())
    if not drew:
        return dataset
    note = (
        "its code draws random numbers: samples are drawn once, with fixed seeds, and are the same in all epochs and "
        "runs; random augmentation does not vary"
    )
    return dataclasses.replace(dataset, notes=(*dataset.notes, note))


def _load(value: Any, data: str, progress: Progress | None) -> Dataset:
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
    if _is_array(value):
        return dataset_of(_array(value), where, name)
    named = _named(value)
    if named:
        return dataset_of_named([*named], lambda each: named[each], where, name)
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, Mapping):
        array, labels = _stacked(value, where, progress)
        return dataset_of(array, where, name, labels)
    raise TypeError(f"{data} is a {type(value).__name__}; expected {WANTED}")


def _is_array(value: Any) -> bool:
    # Tables of pandas and of its kin have to_numpy.
    return isinstance(value, (Tensor, np.ndarray)) or hasattr(value, "to_numpy")


def _array(value: Any) -> Array:
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if not isinstance(value, Tensor):
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        # Words in a table are objects.
        is_words = array.dtype == object and all(isinstance(each, str) for each in array.flat)
        return array.astype(str) if is_words else array
    value = value.detach().cpu()
    # NumPy has no bfloat16.
    own: Array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return own


def _named(value: Any) -> dict[str, Array]:
    """The arrays of a dict, of (X, y) or of ((X, y), (X_test, y_test)), by name; empty if it is none of these."""
    if isinstance(value, Mapping):
        return {str(name): _array(each) for name, each in value.items() if _is_array(each)}
    if _is_pair(value):
        return {"x": _array(value[0]), "y": _array(value[1])}
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_pair, value)):
        (x, y), (x_test, y_test) = value
        return {"x": _array(x), "y": _array(y), "x_test": _array(x_test), "y_test": _array(y_test)}
    return {}


def _is_pair(value: Any) -> bool:
    """Whether a value is (X, y), not a sequence of two samples, or a sample with its label."""
    if not (isinstance(value, (tuple, list)) and len(value) == 2 and _is_array(value[0])):
        return False
    if not (_is_array(value[1]) or isinstance(value[1], (tuple, list))):
        return False
    x, y = _array(value[0]), _array(value[1])
    if y.ndim == 0 or len(y) < 2:
        return False
    if x.ndim > y.ndim:
        return True
    # Two samples have the same shape and type.
    is_column = y.shape[1:] in ((), (1,)) and len(x) == len(y)
    return is_column and (x.shape, x.dtype.kind) != (y.shape, y.dtype.kind)


def _stacked(items: Any, where: str, progress: Progress | None) -> tuple[Array, Array | None]:
    """The items of a sequence and, if they are pairs, their labels."""
    samples: list[Array] = []
    labels: list[Any] = []
    for number in range(len(items)):
        item = items[number]
        if isinstance(item, (tuple, list)) and len(item) == 2:
            item, label = item
            labels.append(label.item() if isinstance(label, Tensor) and label.dim() == 0 else label)
        elif isinstance(item, (tuple, list)) and len(item) == 1:  # of a TensorDataset without labels
            (item,) = item
        if not isinstance(item, (Tensor, np.ndarray)):
            what = f"{type(item).__name__} of {len(item)}" if isinstance(item, (tuple, list)) else type(item).__name__
            raise TypeError(
                f"{where} a {what} as item {number}; expected tensors or arrays, or pairs of one and a label"
            )
        samples.append(_array(item))
        if samples[-1].shape != samples[0].shape:
            raise ValueError(
                f"{where} items of mixed sizes: item 0 has shape {samples[0].shape} and item {number} "
                f"{samples[-1].shape}; expected one shape: resize or crop them; samples and labels as (X, y), a training "
                "and a test set as ((X, y), (X_test, y_test))"
            )
        if progress:
            progress(number + 1, len(items))
    if not samples:
        raise ValueError(f"{where} no items; expected two or more")
    try:
        answers = np.array(labels)
    except ValueError as error:
        raise ValueError(
            f"{where} labels of mixed shapes ({first_line(error)}); expected integers or words, one per item"
        ) from error
    return np.stack(samples), answers if labels else None
