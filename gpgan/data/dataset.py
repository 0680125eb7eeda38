"""The data set that every loader returns."""

from __future__ import annotations

import functools
import hashlib
import math
import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpgan.data.kinds import KINDS, Kind, kind_of

# Rows are hashed and checked in blocks of about this many bytes, so that mapped files are never read as a whole.
BLOCK_BYTES = 1 << 26


@dataclass(frozen=True, eq=False)
class Mixture:
    """The Gaussians that samples were drawn from, in the units of ``Dataset.stored``.

    Attributes:
        centres: ``[K, D]``.
        deviation: The standard deviation of every Gaussian along every axis.
    """

    centres: Tensor
    deviation: float


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with their original values, and the scaling between those and the values that networks see.

    Attributes:
        name: A short name that can be used for a folder.
        stored: Points ``[N, D]``, signals ``[N, C, T]``, images ``[N, C, H, W]`` or volumes ``[N, C, D, H, W]``; may be
            memory-mapped.
        scale: original = sample * scale + offset.
        offset: See scale.
        labels: int64 ``[len(dataset)]`` from 0 to ``len(classes) - 1``, or None.
        classes: The names of the labels; () without labels.
        held_out: ``[M, ...]``, with the type and values of ``stored``: samples that are never trained on, or None.
        held_out_labels: int64 ``[M]`` if there are both ``labels`` and ``held_out``, else None.
        modes: The mixture, if the samples were drawn from a mixture of Gaussians.
        skipped: What was skipped while loading and why, one line per item.
        notes: What should be known about how the samples were read, one line per item.
        mapped: The memory map that holds ``stored``, or None. If its file has been truncated, samples are refused:
            reading them would kill the process.
        rows: int64 ``[len(dataset)]``, ascending: the rows of ``stored`` to train on; None for all. ``split`` sets it.
        selection: int64 ``[k]``, ascending: the rows of ``stored`` that are set aside to choose a checkpoint by, or None.
        whole: The data set before ``split``; None if it is that.

    Raises:
        ValueError: The parts do not match.
        TypeError: ``stored`` is not a tensor.
    """

    name: str
    stored: Tensor
    scale: float = 1.0
    offset: float = 0.0
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    held_out: Tensor | None = None
    modes: Mixture | None = None
    skipped: tuple[str, ...] = ()
    held_out_labels: Tensor | None = None
    rows: Tensor | None = None
    selection: Tensor | None = None
    whole: Dataset | None = None
    notes: tuple[str, ...] = ()
    mapped: mmap.mmap | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.stored, Tensor):
            raise TypeError(f"stored is a {type(self.stored).__name__}; expected a Tensor: torch.as_tensor(stored)")
        if not any(len(kind.axes) == self.stored.dim() - 1 for kind in KINDS):
            kinds = ", ".join(f"{kind.name} [N, {', '.join(kind.axes)}]" for kind in KINDS)
            raise ValueError(f"stored has shape {tuple(self.stored.shape)}; expected one of {kinds}")
        if not (math.isfinite(self.scale) and self.scale != 0 and math.isfinite(self.offset)):
            raise ValueError(f"scale is {self.scale} and offset {self.offset}; expected finite numbers, scale not 0")
        self._check_labels("labels", self.labels, len(self))
        if self.held_out is not None:
            if self.held_out.shape[1:] != self.stored.shape[1:]:
                raise ValueError(
                    f"held_out has samples of shape {tuple(self.held_out.shape[1:])}; expected {self.shape}, the sample shape of stored"
                )
            self._check_labels("held_out_labels", self.held_out_labels, len(self.held_out))

    def _check_labels(self, name: str, labels: Tensor | None, count: int) -> None:
        if labels is None:
            return
        if labels.dtype != torch.int64 or labels.shape != (count,):
            raise ValueError(
                f"{name} is a {labels.dtype} tensor of shape {tuple(labels.shape)}; expected torch.int64 and ({count},)"
            )
        if count and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise ValueError(
                f"{name} ranges from {int(labels.min())} to {int(labels.max())}; expected 0 to {len(self.classes) - 1}, "
                f"as there are {len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.stored) if self.rows is None else len(self.rows)

    @property
    def kind(self) -> Kind:
        """Points, signals, images or volumes."""
        return kind_of(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.stored.shape[1:])

    def samples(self, indices: Tensor | slice | None = None) -> Tensor:
        """The scaled training samples, float32 ``[n, ...]``: all, or those at ``indices`` (int64 ``[n]`` or a slice).

        Raises:
            ValueError: The file that they are mapped from is now shorter.
        """
        self.check_mapped()
        rows = self.rows
        if rows is not None:
            indices = rows if indices is None else rows[indices]
        return self.scaled(self.stored if indices is None else self.stored[indices])

    def scaled(self, values: Tensor) -> Tensor:
        """``(values - offset) / scale`` as float32, for values such as those of ``stored`` and ``held_out``."""
        # float32 is exact for integers only up to 2^24.
        exact = torch.float32 if values.dtype.itemsize <= 2 or values.dtype == torch.float32 else torch.float64
        return values.to(exact).sub(self.offset).div_(self.scale).float()

    def fingerprint(self) -> str:
        """SHA-256, in hex, of shape, type, values, labels, scale and offset; it shows whether the data changed.

        It is the same before and after ``split``, and in memory or memory-mapped.
        """
        return self._fingerprint if self.whole is None else self.whole.fingerprint()

    def check_mapped(self) -> None:
        """Raises ValueError if the file that the samples are mapped from is now shorter."""
        if self.mapped is not None and self.mapped.size() < len(self.mapped):
            raise ValueError(
                f"the file of the data set {self.name} is now {self.mapped.size()} bytes long; expected "
                f"{len(self.mapped)}, as when it was opened: it was overwritten while in use, so restore it"
            )

    @functools.cached_property
    def _fingerprint(self) -> str:
        self.check_mapped()
        digest = hashlib.sha256(repr((tuple(self.stored.shape), str(self.stored.dtype))).encode())
        digest.update(repr((float(self.scale), float(self.offset), self.classes)).encode())
        for block in blocks(self.stored):
            digest.update(_bytes(block))
        if self.labels is not None:
            digest.update(_bytes(self.labels))
        return digest.hexdigest()


def blocks(values: Tensor) -> list[Tensor]:
    """Views of consecutive rows of about ``BLOCK_BYTES`` each."""
    row = values[0].numel() * values.element_size() if len(values) else 1
    return list(torch.split(values, max(1, BLOCK_BYTES // max(1, row))))


def _bytes(values: Tensor) -> memoryview:
    array: np.ndarray[Any, Any] = values.detach().cpu().contiguous().view(torch.uint8).numpy()
    return array.data.cast("B")
