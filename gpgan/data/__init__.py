"""Data sets by name or by path."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from gpgan.data.dataset import Dataset
from gpgan.data.digits import load_digits
from gpgan.data.npy import load_npy
from gpgan.data.ring import load_ring

__all__ = ["BUILT_IN", "Dataset", "load"]

BUILT_IN: dict[str, Callable[[], Dataset]] = {"digits": load_digits, "ring": load_ring}


def load(data: str) -> Dataset:
    """The data set of a name in ``BUILT_IN``, or of the path of a ``.npy`` file.

    Raises:
        ValueError: There is no such data set or file, or the file does not hold samples.
        ModuleNotFoundError: The data set comes in a package that is not installed.
    """
    if data in BUILT_IN:
        return BUILT_IN[data]()
    if Path(data).suffix == ".npy":
        return load_npy(Path(data))
    near = difflib.get_close_matches(data, BUILT_IN, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"data is {data!r}; wanted {', '.join(BUILT_IN)} or the path of a .npy file{hint}")
