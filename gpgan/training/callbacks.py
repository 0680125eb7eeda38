"""What a user's own code can hear of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gpgan.records.stats import Stats

if TYPE_CHECKING:
    from gpgan.training.trainer import Result, Trainer


class Callback:
    """Is told what happens; override what is of interest. Called on the first process only, in the order given.

    What it may read of the trainer: ``config``, ``step``, ``run``, ``generator``, ``critic``, ``sampler`` (the averaged
    generator), ``dataset``. An exception that it raises ends the run; the last checkpoint stands. ``trainer.stop()`` ends
    it in good order.
    """

    def on_begin(self, trainer: Trainer) -> None:
        """The run's folder is there; step ``trainer.step + 1`` comes next."""

    def on_step(self, trainer: Trainer) -> None:
        """Generator step ``trainer.step`` is done. On a GPU: read no tensor here, or every step waits for it."""

    def on_tick(self, trainer: Trainer, stats: Stats) -> None:
        """There is a new line of statistics."""

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        """A checkpoint has been written."""

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """The run is over, and all is saved."""
