"""A run's progress: a live line on a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gpgan.training.stats import Stats

SECONDS_BETWEEN_LINES = 5.0


class ProgressLine:
    """Called after every step with its number, and with statistics where there are new ones; a context manager."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console = console
        self._steps = steps
        self._begun = time.monotonic()
        self._told = self._begun
        self._live: Progress | None = None
        if console.is_terminal:
            self._live = Progress(
                MofNCompleteColumn(),
                BarColumn(bar_width=12),
                TextColumn("{task.fields[rate]} steps/s"),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[numbers]}"),
                console=console,
            )
            self._task = self._live.add_task("", total=steps, rate="-", numbers="")

    def __enter__(self) -> ProgressLine:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, step: int, stats: Stats | None) -> None:
        now = time.monotonic()
        rate = step / max(now - self._begun, 1e-9)
        if self._live:
            self._live.update(self._task, completed=step, rate=f"{rate:.1f}")
            if stats:
                self._live.update(self._task, numbers=_numbers(stats))
        elif stats and (now - self._told >= SECONDS_BETWEEN_LINES or step == self._steps):
            self._told = now
            left = (self._steps - step) / rate
            line = f"step {step}/{self._steps}  {rate:.1f} steps/s  {left:.0f} s left  {_numbers(stats)}"
            self._console.print(line)


def _numbers(stats: Stats) -> str:
    return f"W {stats.wasserstein:.3f}  penalty {stats.penalty:.3f}  |grad| {stats.norm_mean:.3f}"
