"""Decoded images in the user's cache folder, so that they are decoded only once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpgan.data.arrays import Array
from gpgan.data.dataset import BLOCK_BYTES


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


def read(name: str) -> tuple[Array, dict[str, Any]] | None:
    """The rows cached under a key, uint8 and memory-mapped, and their facts; None if missing or damaged."""
    try:
        facts = json.loads((folder() / f"{name}.json").read_text(encoding="utf-8"))
        shape = tuple(facts.pop("shape"))
        path = folder() / f"{name}.u8"
        if path.stat().st_size != math.prod(shape):
            return None
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        if digest.hexdigest() != facts.pop("sha256"):
            return None
        return np.memmap(path, np.uint8, "c", shape=shape), facts
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class Rows:
    """Rows being written to the cache: see ``writing``."""

    def __init__(self, file: Any) -> None:
        self._file, self._digest, self._shape, self._count = file, hashlib.sha256(), (0,), 0

    def append(self, row: Array) -> None:
        """Writes one uint8 row; all rows have the same shape."""
        content = row.tobytes()
        self._file.write(content)
        self._digest.update(content)
        self._shape, self._count = row.shape, self._count + 1

    def facts(self) -> dict[str, Any]:
        """The shape and checksum that ``read`` checks."""
        return {"shape": [self._count, *self._shape], "sha256": self._digest.hexdigest()}


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
        about.write_text(json.dumps({**facts, **kept.facts()}), encoding="utf-8")
        rows.replace(home / f"{name}.u8")
        about.replace(home / f"{name}.json")
