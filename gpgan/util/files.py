"""Files that are either complete or absent: atomic writes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def replacing(path: Path, keep: Path | None = None) -> Iterator[BinaryIO]:
    """Opens a file that replaces ``path`` when the block ends, and is deleted if the block raises.

    It is synced to disk before it is renamed, so even a power cut never leaves half a file.

    Args:
        path: The file.
        keep: Where to move the previous file; None to drop it.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise naming(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def naming(path: Path, error: OSError) -> OSError:
    """The error with the name of the file, which a failed write leaves out."""
    return error if error.filename else OSError(error.errno, error.strerror or str(error), str(path))


def append(path: Path, line: str) -> None:
    """Adds a line to a text file."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise naming(path, error) from error


def _sync_folder(folder: Path) -> None:
    """Syncs a folder's directory entries to disk, if the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write(path: Path, save: Callable[[BinaryIO], object]) -> None:
    """Writes a file with ``save``, completely or not at all."""
    with replacing(path) as file:
        save(file)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, indented."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2, default=str, allow_nan=False) + "\n").encode())
