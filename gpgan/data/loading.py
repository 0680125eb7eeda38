"""Chooses the loader for a name, a path or a module's attribute."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from gpgan.data.dataset import Dataset
from gpgan.data.digits import load_digits, load_mnist5k
from gpgan.data.emoji import load_emoji
from gpgan.data.fashion import load_fashion
from gpgan.data.idx import load_idx
from gpgan.data.kinds import Kind, kind_of_file, kind_of_folder
from gpgan.data.numpy_files import load_npy, load_npz
from gpgan.data.objects import load_object
from gpgan.data.paths import Progress, files_under
from gpgan.data.plane import load_grid, load_ring, load_swissroll
from gpgan.util.nearest import nearest
from gpgan.util.warn import warn
from gpgan.util.words import shown

BUILT_IN: dict[str, Callable[[], Dataset]] = {
    "digits": load_digits,
    "ring": load_ring,
    "grid": load_grid,
    "swissroll": load_swissroll,
    "mnist5k": load_mnist5k,
    "fashion": load_fashion,
    "emoji": load_emoji,
}
IDX = re.compile(r"\.idx(\.gz)?$|idx\d|-ubyte(\.gz)?$")
FILES = "a folder of images or .mrc files, or a .npy, .npz, .mrc or IDX file"


def load(data: str, *, size: int | None = None, progress: Progress | None = None) -> Dataset:
    """Loads a name in ``BUILT_IN``, a path, or "module:attribute", tried in this order.

    Args:
        data: ``digits`` is the built-in name, ``./digits`` the path.
        size: The side in pixels of the squares that a folder's images are resized to, or in voxels of the cubes that
            .mrc volumes are cut into; None chooses it from the data.
        progress: Called with (files done, files in all), if there are many files.

    Warns:
        UserWarning: For each of the data set's ``notes``.

    Raises:
        ValueError: There is no such data set, or it does not hold samples; the message names the fix.
        ModuleNotFoundError: The data set needs a package that is not installed.
    """
    if size is not None and size < 1:
        raise ValueError(f"size is {size}; expected 1 or more")
    dataset = _load(data, size, progress)
    for note in dataset.notes:
        warn(shown(f"{data}: {note}"))
    return dataset


def _load(data: str, size: int | None, progress: Progress | None) -> Dataset:
    path = Path(data)
    # An empty string would be the path of the current folder.
    kind = _kind(path) if data and data not in BUILT_IN else None
    if kind:
        return kind.load(path, size, progress)
    if size is not None:
        raise ValueError(
            f"size is {size} and data is {data!r}; expected no size: only folders of images and .mrc volumes take one"
        )
    if data in BUILT_IN:
        return BUILT_IN[data]()
    if path.suffix.lower() == ".npy":
        return load_npy(path)
    if path.suffix.lower() == ".npz":
        return load_npz(path)
    if IDX.search(path.name):
        return load_idx(path)
    if names_code(data):
        return load_object(data, progress)
    raise ValueError(_refusal(data, path))


def names_code(data: str) -> bool:
    """Whether ``load`` takes ``data`` for module:attribute, which it imports and calls."""
    path = Path(data)
    is_array = path.suffix.lower() in (".npy", ".npz") or IDX.search(path.name)
    return ":" in data and data not in BUILT_IN and not is_array and not path.exists() and _kind(path) is None


def _kind(path: Path) -> Kind | None:
    """The kind of data whose files are at a path; None if no kind claims it."""
    return kind_of_folder(files_under(path)) if path.is_dir() else kind_of_file(path)


def _refusal(data: str, path: Path) -> str:
    names = ", ".join(BUILT_IN)
    expected = f"expected {names}, {FILES}, or module:attribute"
    if data and path.exists():
        return f"data is {data!r}, a file of an unknown format; {expected}"
    if path.suffix or "/" in data:
        return f"{path} does not exist; {expected}"
    return f"data is {data!r}; {expected}{nearest(data, BUILT_IN)}"
