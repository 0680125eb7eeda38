"""The run directory, and files that are either whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


def check_writable(out: Path, name: str | None) -> None:
    """Raises ValueError unless a run can be made in ``out``; makes nothing."""
    if name is not None and (out / name).exists():
        raise ValueError(f"{out / name} exists already; wanted a new run: choose another --name, or remove it")
    parent = out
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{parent} is no folder, so that no run can be made in it; choose another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{parent} is not writable; choose another --out")


def create_run(out: Path, name: str | None, data: str) -> Path:
    """Makes and returns ``out/name``, or ``out/NNNNN-data`` with the next free number.

    Raises:
        ValueError: The folder cannot be made, or exists already.
    """
    check_writable(out, name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if name is not None:
            (out / name).mkdir()
            return out / name
        while True:
            numbers = [int(m[0]) for entry in out.iterdir() if (m := re.match(r"\d{5,}(?=-)", entry.name))]
            run = out / f"{max(numbers, default=-1) + 1:05d}-{data}"
            # Another process may have taken the number meanwhile.
            with contextlib.suppress(FileExistsError):
                run.mkdir()
                return run
    except OSError as error:
        raise ValueError(f"no run can be made in {out} ({error.strerror}); choose another --out") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` when the block ends, or vanishes where the block raises."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, save: Callable[[BinaryIO], object]) -> None:
    """Writes a file through ``save``, whole or not at all."""
    with replacing(path) as file:
        save(file)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, indented."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2, default=str, allow_nan=False) + "\n").encode())
