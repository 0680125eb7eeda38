"""What the file loaders share: checks before a file is opened, the data set's name, progress."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from gpgan.util.errors import first_line
from gpgan.util.words import shown

# Called with (files done, files in all).
Progress = Callable[[int, int], None]

# Names of folders and arrays for parts of the data: those in HELD_OUT are never trained on.
TRAINING = ("train", "training")
HELD_OUT = ("test", "testing", "val", "valid", "validation")
PARTS = {*TRAINING, *HELD_OUT}


def check_file(path: Path, wanted: str) -> None:
    """Raises ValueError unless ``path`` is a regular file that is not empty."""
    if not path.exists():
        raise ValueError(f"{path} does not exist; expected {wanted}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected {wanted}")
    # Opening a FIFO waits for ever; a device may never end.
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file; expected {wanted}: copy the data into a file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; expected {wanted}")


def check_memory(size: int, where: str, fix: str) -> None:
    """Raises ValueError if ``size`` bytes do not fit into this machine's memory, or into what the container may use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # Without a limit there is no such file, or no number in it.
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    if size > memory:
        raise ValueError(f"{where} {size >> 20} MiB of values; expected at most {memory >> 20} MiB, the memory: {fix}")


def name_of(path: Path) -> str:
    """A data set's name from its path; it can be used for a folder."""
    name = path.resolve().name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "data"


def files_under(folder: Path) -> list[str]:
    """The files in a folder and all its sub-folders except hidden ones, as sorted relative paths with "/".

    Links to files are followed, links to folders are not.

    Raises:
        ValueError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise ValueError(
            f"{error.filename} cannot be read ({first_line(error)}); expected a readable folder"
        ) from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def test_folders(names: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The training files, the held-out files, and the path of every file, in this order, without train, test or val.

    All files are training files unless folders of these names, at one depth, hold them all, such as train/cat/1.png and
    test/cat/2.png, or cat/train/1.png and cat/val/2.png.
    """
    for depth, words in _levels(names):
        if {*words} <= PARTS and {*words} & {*TRAINING} and {*words} & {*HELD_OUT}:
            trained = [name for name, word in zip(names, words, strict=True) if word in TRAINING]
            held_out = [name for name, word in zip(names, words, strict=True) if word in HELD_OUT]
            split = [name.split("/") for name in trained + held_out]
            return trained, held_out, ["/".join(parts[:depth] + parts[depth + 1 :]) for parts in split]
    return names, [], names


def part_note(names: list[str], held_out: list[str]) -> list[str]:
    """A note if folders named train, test or val were not taken as such by ``test_folders``."""
    for _, words in _levels(names):
        found = sorted({*words} & PARTS)
        if not held_out and len(found) > 1:
            return [
                f"folders {' and '.join(found)}, but not all files are in training and test folders: nothing is held out "
                "for them, and all files are trained on"
            ]
    return []


def _levels(names: list[str]) -> list[tuple[int, list[str]]]:
    """Each depth of the folders, and at this depth the folder of every file, in lower case; "" if it has none."""
    folders = [name.lower().split("/")[:-1] for name in names]
    depths = range(max(map(len, folders), default=0))
    return [(depth, [parts[depth] if depth < len(parts) else "" for parts in folders]) for depth in depths]


def skipped_line(name: str, reason: str) -> str:
    """The log line of a skipped file."""
    return shown(f"{name}: {reason}")
