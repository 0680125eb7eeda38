"""The run directory, and files that are either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


def check_writable(out: Path, name: str | None) -> None:
    """Raises ValueError unless a run can be made in ``out``; makes nothing."""
    if name is not None and (out / name).exists():
        raise ValueError(
            f"{out / name} exists already; to go on with it: gpgan resume {shlex.quote(str(out / name))}; for a new run "
            f"choose another --name, or remove it"
        )
    parent = out
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{parent} is no folder, so that no run can be made in it; choose another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{parent} is not writable; choose another --out")


def create_run(out: Path, name: str | None, data: str, fill: Callable[[Path], None]) -> Path:
    """Makes and returns ``out/name``, or ``out/NNNNN-data`` with the next free number.

    The folder appears under its name only when it is filled, so that a run that is there can be resumed.

    Args:
        out: The folder of runs, made where it does not exist.
        name: Of the run; None for a number.
        data: The data's short name.
        fill: Writes the first files into the folder it is given.

    Raises:
        ValueError: The folder cannot be made, or exists already.
    """
    check_writable(out, name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".run-", suffix=".partial", dir=out))
        try:
            partial.chmod(0o777 & ~_umask())  # mkdtemp's is for its owner alone
            fill(partial)
            while True:
                run = out / (name or f"{_next_number(out):05d}-{data}")
                try:
                    return partial.rename(run)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    check_writable(out, name)  # another process may have taken the name, or the number, meanwhile
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ValueError(f"no run can be made in {out} ({error.strerror}); choose another --out") from error


def _next_number(out: Path) -> int:
    numbers = [int(m[0]) for entry in out.iterdir() if (m := re.match(r"\d{5,}(?=-)", entry.name))]
    return max(numbers, default=-1) + 1


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def replacing(path: Path, keep: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` when the block ends, or vanishes where the block raises.

    It is on the disk before it gets its name, so that not even a power cut leaves half of it there.

    Args:
        path: The file.
        keep: Where the file that was there before goes; None to drop it.
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
    """The error with the name of the file that it is about, which a failed write does not give."""
    return error if error.filename else OSError(error.errno, error.strerror or str(error), str(path))


def append(path: Path, line: str) -> None:
    """Adds a line to a text file."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise naming(path, error) from error


def _sync_folder(folder: Path) -> None:
    """Puts a folder's names on the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write(path: Path, save: Callable[[BinaryIO], object]) -> None:
    """Writes a file through ``save``, whole or not at all."""
    with replacing(path) as file:
        save(file)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, indented."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2, default=str, allow_nan=False) + "\n").encode())
