"""Files that are either complete or absent: atomic writes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

PARTIAL = re.compile(r"\.(\d+)-[0-9a-f]+\.partial")


def partial_of(path: Path) -> Path:
    """A new name beside ``path`` for what is not complete yet; it holds the process's number.

    Two processes that write the same file, such as two ``gpgan eval`` of one run, must not write into each other's.
    """
    return path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.partial")


def clear_partials(folder: Path, every: bool = False) -> None:
    """Deletes partial files left by processes that were killed; ``every`` also those of processes still running."""
    for path in folder.glob(".*.partial"):
        match = PARTIAL.fullmatch(path.name)
        # In a container a process often has the number of its killed predecessor, and it is writing nothing now.
        if every or match is None or int(match[1]) == os.getpid() or not is_running(int(match[1])):
            with contextlib.suppress(OSError):
                path.unlink()


def is_running(pid: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to another user
        return True
    return True


@contextlib.contextmanager
def replacing(path: Path, keep: Path | None = None) -> Iterator[BinaryIO]:
    """Opens a file that replaces ``path`` when the block ends, and is deleted if the block raises.

    It is synced to disk before it is renamed, so even a power cut never leaves half a file.

    Args:
        path: The file.
        keep: Where to move the previous file; None to drop it.
    """
    partial = partial_of(path)
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
        if str(error.filename) == str(partial):
            error.filename = None
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
