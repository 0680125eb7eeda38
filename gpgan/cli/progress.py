"""Progress: a live line on a terminal, else a plain line every few seconds."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gpgan.records.stats import Stats
from gpgan.training.callbacks import Callback
from gpgan.util.words import duration, rate

if TYPE_CHECKING:
    from gpgan.training.trainer import Result, Trainer

SECONDS_BETWEEN_LINES = 5.0
# Loading that takes longer than this shows its progress, in seconds.
PATIENCE = 2.0


class ProgressLine(Callback):
    """Shows the progress of a run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Progress | None = None

    def on_begin(self, trainer: Trainer) -> None:
        self._first = trainer.step
        self._begun = self._told = time.monotonic()
        if self._console.is_terminal:
            self._live = Progress(
                MofNCompleteColumn(),
                BarColumn(bar_width=12),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[numbers]}"),
                console=self._console,
            )
            self._task = self._live.add_task(
                "", total=trainer.config.steps, completed=trainer.step, rate="", numbers=""
            )
            self._live.start()

    def on_step(self, trainer: Trainer) -> None:
        if self._live:
            self._live.update(self._task, completed=trainer.step, rate=rate(self._rate(trainer)))

    def on_tick(self, trainer: Trainer, stats: Stats) -> None:
        now, steps = time.monotonic(), trainer.config.steps
        numbers = trainer.task.describe(stats.numbers)
        if self._live:
            self._live.update(self._task, numbers=numbers)
        elif now - self._told >= SECONDS_BETWEEN_LINES or stats.step == steps:
            self._told = now
            pace = self._rate(trainer)
            left = (steps - stats.step) / pace
            if trainer.config.minutes:
                left = min(left, 60 * trainer.config.minutes - (now - self._begun))
            self._console.print(f"step {stats.step}/{steps}  {rate(pace)}  {duration(left)} left  {numbers}")

    def on_end(self, trainer: Trainer, result: Result) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the live line."""
        if self._live:
            self._live.stop()
            self._live = None

    def _rate(self, trainer: Trainer) -> float:
        return (trainer.step - self._first) / max(time.monotonic() - self._begun, 1e-9)


@contextlib.contextmanager
def loading(what: str = "reading data") -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total) while files are processed; after PATIENCE seconds it reports to stderr."""
    with stages() as tell:
        yield lambda done, total: tell(what, done, total)


@contextlib.contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """As ``loading``, for a function to call with (what, done, total)."""
    begun = told = time.monotonic()

    def tell(what: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed
            live = sys.stderr.isatty()
            often = 1.0 if live else SECONDS_BETWEEN_LINES
            if now - begun > PATIENCE and (now - told > often or done == total):
                told = now
                end = "\n" if done == total or not live else "\r"
                sys.stderr.write(f"{what}: {done}/{total}{end}")
                sys.stderr.flush()

    yield tell
