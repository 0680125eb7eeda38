"""Creates a run's folder and chooses its name."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gpgan.records import lock
from gpgan.util.errors import first_line

# A process that begins a run has locked its folder before so many seconds.
YOUNG = 60.0


def check_writable(out: Path, name: str | None) -> None:
    """Raises ValueError unless a run can be created in ``out``; creates nothing."""
    if name is not None and (out / name).exists():
        raise ValueError(
            f"{out / name} already exists; to continue it: gpgan resume {shlex.quote(str(out / name))}; for a new run "
            f"choose another --name, or delete the folder"
        )
    parent = out
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{parent} is not a folder, so no run can be created in it; choose another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{parent} is not writable; choose another --out")


def create_run(out: Path, name: str | None, data: str, fill: Callable[[Path], None]) -> Path:
    """Creates and returns ``out/name``, or ``out/NNNNN-data`` with the next free number.

    The folder gets its name only after it is filled, so that every run that exists can be resumed.

    Args:
        out: The folder of runs, created if it does not exist.
        name: Of the run; None for a number.
        data: The data's short name.
        fill: Locks the folder and writes the first files into it.

    Raises:
        ValueError: The folder cannot be created, or already exists.
    """
    check_writable(out, name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _clear(out)
        partial = Path(tempfile.mkdtemp(prefix=".run-", suffix=".partial", dir=out))
        try:
            partial.chmod(0o777 & ~_umask())  # mkdtemp makes it private
            fill(partial)
            while True:
                run = out / (name or f"{_next_number(out):05d}-{data}")
                try:
                    return partial.rename(run)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    check_writable(out, name)  # another process may have taken the name or number meanwhile
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ValueError(f"no run can be created in {out} ({first_line(error)}); choose another --out") from error


def _clear(out: Path) -> None:
    """Deletes the beginnings of runs whose process was killed."""
    for partial in out.glob(".run-*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > YOUNG and lock.is_free(partial):
                shutil.rmtree(partial)


def _next_number(out: Path) -> int:
    numbers = [int(m[0]) for entry in out.iterdir() if (m := re.match(r"\d{5,}(?=-)", entry.name))]
    return max(numbers, default=-1) + 1


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
