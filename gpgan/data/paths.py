"""What the file loaders share: checks before a file is opened, the data set's name, progress."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from gpgan.util.errors import first_line

# Called with (files done, files in all).
Progress = Callable[[int, int], None]


def check_file(path: Path, wanted: str) -> None:
    """Raises ValueError if ``path`` is missing, a folder or an empty file."""
    if not path.exists():
        raise ValueError(f"{path} does not exist; expected {wanted}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected {wanted}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; expected {wanted}")


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


def skipped_line(name: str, reason: str) -> str:
    """The log line of a skipped file. A name that is not valid text is made so."""
    return f"{name}: {reason}".encode(errors="replace").decode()
