"""Which loader a name, a path or a module's attribute goes to."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from gpgan.data.dataset import Dataset
from gpgan.data.digits import load_digits, load_mnist5k
from gpgan.data.emoji import load_emoji
from gpgan.data.fashion import load_fashion
from gpgan.data.idx import load_idx
from gpgan.data.images import load_images
from gpgan.data.numpy_files import load_npy, load_npz
from gpgan.data.objects import load_object
from gpgan.data.paths import Progress
from gpgan.data.plane import load_grid, load_ring, load_swissroll
from gpgan.data.volumes import MRC, load_mrc, mrc_files

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
    """The data set of a name in ``BUILT_IN``, of a path, or of "module:attribute", in this order.

    Args:
        data: ``./digits`` is the path where ``digits`` would be the name.
        size: The side of the squares that a folder's images are brought to, or of the cubes that .mrc volumes are cut
            into; None chooses it from the data.
        progress: Called with how many files are done and how many there are, where there are many.

    Raises:
        ValueError: There is no such data set, or it does not hold samples; the message names the fix.
        ModuleNotFoundError: The data set needs a package that is not installed.
    """
    if size is not None and size < 1:
        raise ValueError(f"size is {size}; expected 1 or more")
    path = Path(data)
    # An empty word would be the path of the current folder.
    sized = _sized(path) if data and data not in BUILT_IN else None
    if sized:
        return sized(path, size, progress)
    if size is not None:
        raise ValueError(
            f"size is {size} and data {data!r}; only folders of images and .mrc volumes have a size to choose"
        )
    if data in BUILT_IN:
        return BUILT_IN[data]()
    if path.suffix.lower() == ".npy":
        return load_npy(path)
    if path.suffix.lower() == ".npz":
        return load_npz(path)
    if IDX.search(path.name):
        return load_idx(path)
    if ":" in data and not path.exists():
        return load_object(data, progress)
    raise ValueError(_refusal(data, path))


def _sized(path: Path) -> Callable[[Path, int | None, Progress | None], Dataset] | None:
    if path.is_dir():
        return load_mrc if mrc_files(path) else load_images
    return load_mrc if path.suffix.lower() in MRC else None


def _refusal(data: str, path: Path) -> str:
    names = ", ".join(BUILT_IN)
    wanted = f"expected {names}, {FILES}, or module:attribute"
    if data and path.exists():
        return f"data is {data!r}, a file of a kind that is not known; {wanted}"
    if path.suffix or "/" in data:
        return f"{path} does not exist; {wanted}"
    near = difflib.get_close_matches(data, BUILT_IN, n=1)
    return f"data is {data!r}; {wanted}{f'; did you mean {near[0]}?' if near else ''}"
