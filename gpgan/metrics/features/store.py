"""Results derived from real samples, kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from gpgan.data import cache
from gpgan.util.files import replacing

# Counted up whenever a metric or network computes something else under the same name.
VERSION = 2
# The oldest results are removed when all of them take more bytes than this.
MOST_BYTES = 4 << 30


class Store:
    """Results of one set of samples by certain networks.

    Args:
        parts: What the results depend on: the samples' digest, the networks' identities.
    """

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def get(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """The result kept under a name, or else that of ``compute``, which is then kept if the folder can be written."""
        try:
            path = cache.folder() / "metrics" / f"{cache.key(VERSION, *self._parts, name)}.safetensors"
        except OSError:
            return compute()
        with contextlib.suppress(Exception):  # missing, or damaged in any way
            ((checksum, kept),) = load(path.read_bytes()).items()
            if checksum == _checksum(kept):
                return kept
        value = compute()
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(path.parent, value.numel() * value.element_size())
            with replacing(path) as file:
                file.write(save({_checksum(value): value.contiguous()}))
        return value


def _checksum(value: Tensor) -> str:
    return hashlib.sha256(value.contiguous().reshape(-1).view(torch.uint8).numpy().data).hexdigest()


def _make_room(folder: Path, size: int) -> None:
    """Removes the oldest results until another one of this size fits into MOST_BYTES."""
    kept = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.safetensors"))
    total = size + sum(each for _, each, _ in kept)
    for _, each, path in kept:
        if total <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= each
