"""Writes a run's statistics and pictures for TensorBoard."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Pictures are scaled down to at most this many pixels per side: they are encoded again, and the report has them in
# full.
SIDE = 448


class Board:
    """TensorBoard events in the run's own folder; nothing if the package ``tensorboard`` is missing, or
    cannot write to a folder of that name.

    Args:
        run: The run's folder, which exists.
        purge_step: For a resumed run, the first step that will be written again: TensorBoard drops earlier records of
            this step and all later ones.
    """

    def __init__(self, run: Path, purge_step: int | None = None) -> None:
        self._writer: SummaryWriter | None = None
        # A folder's name may be bytes that are no text.
        with contextlib.suppress(ImportError, UnicodeEncodeError):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run), purge_step=purge_step, flush_secs=30)

    def add(self, stats: Mapping[str, float | None], step: int) -> None:
        """Adds named numbers at a step; those that are None, and the step itself, are skipped."""
        if self._writer is not None:
            for name, value in stats.items():
                if value is not None and name != "step":
                    self._writer.add_scalar(name, value, step)

    def add_image(self, path: Path, step: int) -> None:
        """Adds a picture under its file name without the number: fakes_000500.png becomes fakes."""
        if self._writer is not None:
            with Image.open(path) as image:
                image.thumbnail((SIDE, SIDE))
                pixels = np.asarray(image.convert("RGB"))
            self._writer.add_image(re.sub(r"_(\d+|init)$", "", path.stem), pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes; later calls write nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
