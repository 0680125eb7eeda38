"""What the loaders of files share: checks before a file is opened, its name, how far they are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

# Called with how many files are done and how many there are.
Progress = Callable[[int, int], None]


def check_file(path: Path, wanted: str) -> None:
    """Raises ValueError where ``path`` is missing, a folder or an empty file."""
    if not path.exists():
        raise ValueError(f"{path} does not exist; expected {wanted}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected {wanted}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; expected {wanted}")


def name_of(path: Path) -> str:
    """A data set's name, fit for a folder, from its path."""
    name = path.resolve().name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "data"


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def files_under(folder: Path) -> list[str]:
    """The files in a folder and all folders under it but hidden ones, as sorted paths from it with "/" between.

    Links to files are followed, links to folders are not.

    Raises:
        ValueError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise ValueError(
            f"{error.filename} cannot be read ({error.strerror}); expected a folder that can be"
        ) from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def skipped_line(name: str, reason: str) -> str:
    """What a log says of a file left out. Names that are no valid text are made so."""
    return f"{name}: {reason}".encode(errors="replace").decode()
