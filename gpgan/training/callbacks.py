"""Hooks for the user's own code during a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gpgan.records.stats import Stats

if TYPE_CHECKING:
    from gpgan.training.trainer import Result, Trainer


class Callback:
    """Override the methods you need. They are called on the first process only, in the order of the callbacks.

    They may read the trainer's ``config``, ``step``, ``run``, ``generator``, ``critic``, ``sampler`` (the averaged
    generator) and ``dataset``. An exception ends the run and leaves the last checkpoint; ``trainer.stop()`` ends the
    run and saves it.
    """

    def on_begin(self, trainer: Trainer) -> None:
        """The run's folder exists; step ``trainer.step + 1`` is next."""

    def on_step(self, trainer: Trainer) -> None:
        """Generator step ``trainer.step`` is done. Do not read tensors from a GPU here: every step would wait."""

    def on_tick(self, trainer: Trainer, stats: Stats) -> None:
        """There is a new line of statistics."""

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        """A checkpoint has been written."""

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """The run has ended and everything is saved."""
