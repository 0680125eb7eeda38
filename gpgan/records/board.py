"""A run as TensorBoard shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

# Pictures are brought to at most so many pixels a side: they are encoded anew, and the page has them in full.
SIDE = 448


class Board:
    """TensorBoard events in the run's own folder; nothing at all where the package ``tensorboard`` is missing.

    Args:
        run: The run's folder, which exists.
        purge_step: Of a resumed run, the first step that is written anew: TensorBoard forgets this step and all later
            ones of the run before.
    """

    def __init__(self, run: Path, purge_step: int | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._writer = None
            return
        self._writer = SummaryWriter(str(run), purge_step=purge_step, flush_secs=30)

    def add(self, stats: Mapping[str, float | None], step: int) -> None:
        """Adds numbers under their names at a step; one that is None is left out, and so is the step itself."""
        if self._writer is not None:
            for name, value in stats.items():
                if value is not None and name != "step":
                    self._writer.add_scalar(name, value, step)

    def add_image(self, path: Path, step: int) -> None:
        """Adds a picture under its file's name without the number: fakes_000500.png under fakes."""
        if self._writer is not None:
            with Image.open(path) as image:
                image.thumbnail((SIDE, SIDE))
                pixels = np.asarray(image.convert("RGB"))
            self._writer.add_image(re.sub(r"_(\d+|init)$", "", path.stem), pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what is still on its way; the board takes nothing afterwards."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
