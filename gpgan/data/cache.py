"""Decoded images in the user's cache folder, so that they are decoded only once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpgan.data.arrays import Array
from gpgan.data.dataset import BLOCK_BYTES

# The types that rows may have.
TYPES = {name: np.dtype(name) for name in ("uint8", "uint16")}
# Bytes that are read of a file at its beginning, middle and end.
PIECE = 4096


def folder() -> Path:
    """``$XDG_CACHE_HOME/gpgan``, or ``~/.cache/gpgan``.

    Raises:
        OSError: The user has no home folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpgan"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def key(*parts: Any) -> str:
    """The cache key of what is decoded from these parts, which are distinguished by their ``repr``."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def identity(file: Path) -> tuple[Any, ...]:
    """What tells whether a file is still the same without reading all of it: size, times, and a hash of three pieces.

    The second time is that of the last change, which cannot be set back as the first can.
    """
    try:
        # Opening a FIFO would wait for ever.
        opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            about = os.fstat(opened)
            if not stat.S_ISREG(about.st_mode):
                return ()
            starts = (0, about.st_size // 2, max(0, about.st_size - PIECE))
            pieces = b"".join(os.pread(opened, PIECE, start) for start in starts)
        finally:
            os.close(opened)
    except OSError:
        return ()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, hashlib.sha256(pieces).hexdigest()


def read(name: str) -> tuple[Array, dict[str, Any]] | None:
    """The rows cached under a key, memory-mapped, and their facts; None if missing or damaged."""
    try:
        about = json.loads((folder() / f"{name}.json").read_text(encoding="utf-8"))
        stated, shape, dtype = about.pop("sha256"), tuple(about["shape"]), TYPES[about["type"]]
        path = folder() / f"{name}.u8"
        if path.stat().st_size != math.prod(shape) * dtype.itemsize:
            return None
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        if _sum(digest, about) != stated:
            return None
        del about["shape"], about["type"]
        return np.memmap(path, dtype, "c", shape=shape), about
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None


def _sum(rows: Any, facts: dict[str, Any]) -> str:
    """The checksum of rows, given their digest, and of what is known about them."""
    rows.update(json.dumps(facts, sort_keys=True).encode())
    return str(rows.hexdigest())


class Rows:
    """Rows being written to the cache: see ``writing``."""

    def __init__(self, file: Any) -> None:
        self._file, self._digest, self._count = file, hashlib.sha256(), 0
        self._shape: tuple[int, ...] = (0,)
        self._type = "uint8"

    def append(self, row: Array) -> None:
        """Writes one row; all rows have the same shape and one of the types in ``TYPES``."""
        content = row.tobytes()
        self._file.write(content)
        self._digest.update(content)
        self._shape, self._type, self._count = row.shape, row.dtype.name, self._count + 1

    def facts(self, more: dict[str, Any]) -> dict[str, Any]:
        """The shape and type, ``more``, and the checksum of all this and of the rows, which ``read`` checks."""
        about = {**more, "shape": [self._count, *self._shape], "type": self._type}
        return {**about, "sha256": _sum(self._digest, about)}


@contextlib.contextmanager
def writing(name: str, facts: dict[str, Any]) -> Iterator[Rows]:
    """Caches the rows appended in the block under a key, with the facts as they are at its end: all or nothing.

    Raises:
        OSError: The cache folder cannot be written to. Nothing is left behind.
    """
    home = folder()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        rows, about = Path(scratch, "rows"), Path(scratch, "facts")
        # Written, not memory-mapped: a full disk is then an error; a write to mapped memory would kill the process.
        with rows.open("wb") as file:
            kept = Rows(file)
            yield kept
        about.write_text(json.dumps(kept.facts(facts)), encoding="utf-8")
        rows.replace(home / f"{name}.u8")
        about.replace(home / f"{name}.json")
