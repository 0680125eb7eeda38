"""Writes a run's files; only this module knows their names, except those of checkpoints."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from safetensors.torch import save

from gpgan.data import Dataset
from gpgan.data.facts import Facts
from gpgan.records import identity
from gpgan.records.animation import write_animation
from gpgan.records.board import Board
from gpgan.records.curves import Curves
from gpgan.records.pictures import snapshots
from gpgan.records.provenance import provenance
from gpgan.records.report import write_report
from gpgan.records.stats import Stats
from gpgan.settings.config import RunConfig
from gpgan.settings.merging import settings_of
from gpgan.tasks.task import Task
from gpgan.util.files import append, clear_partials, replacing, write_json
from gpgan.util.words import counted, rate, shown

# The share of a run's time that drawing curves and report may take; the report is written with every REPORT-th drawing.
DRAWING = 0.01
REPORT = 5


class Recorder:
    """Writes everything but the checkpoints into a run's folder.

    Args:
        config: Resolved.
        dataset: The data set, split.
        facts: Of the data.
        task: What is trained.

    Attributes:
        run: The folder.
        id: Of the run.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, facts: Facts, task: Task) -> None:
        self.run, self.id = Path(), identity.new()
        self._config, self._dataset, self._facts, self._task = config, dataset, facts, task
        self._drawing, self._drawn = 0.0, 0
        self._board: Board | None = None
        self._curves: Curves | None = None

    def begin(self, run: Path) -> None:
        """Writes the first files of a run into its folder, which does not have its final name yet."""
        self.run = run
        self.configured()
        self.log(f"{self._config.data}: {len(self._dataset)} samples of {self._dataset.shape}")
        for line in self._dataset.skipped:
            self.log(f"skipped: {line}")
        for line in self._dataset.notes:
            self.log(f"note: {line}")
        self._task.reals(run / "reals.png")
        self._task.picture(run / "fakes_init.png", self._config.seed, "Before training")

    def resume(self, run: Path, step: int, done: bool = False) -> None:
        """Continues in a run's folder; what was written after ``step`` is removed.

        If the run is ``done``, what was written before its last checkpoint but may be incomplete is written again.
        """
        self.run = run
        clear_partials(run)
        path = run / "stats.jsonl"
        if path.exists():
            with replacing(path) as file:
                for line in path.read_bytes().splitlines(keepends=True):
                    try:
                        written = json.loads(line)["step"]
                    except (ValueError, KeyError, TypeError, RecursionError):  # incomplete, as the run was killed
                        continue
                    # A line written early, at an interrupt, is written again at its tick.
                    if written <= step and (done or written % self._config.tick == 0):
                        file.write(line)
        for at, picture in snapshots(run, sys.maxsize):
            if at > step:
                picture.unlink()
        self._board, self._curves = Board(run, purge_step=step + 1), None
        self.configured()
        if done:
            self._draw_curves()
            self.weights()

    def configured(self) -> None:
        """Writes config.json: the run's id, the settings, the provenance, and the labels of the task's numbers."""
        numbers = {name: vars(number) for name, number in self._task.numbers.items()}
        about = {
            "id": self.id,
            "config": settings_of(self._config),
            **provenance(self._config, self._facts),
            "numbers": numbers,
        }
        write_json(self.run / identity.FILE, about)

    def log(self, text: str) -> None:
        """Adds a line to log.txt, with the current time; control characters, as names may hold, are escaped."""
        append(self.run / "log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {shown(text)}")

    def tick(self, stats: Stats, last: bool) -> None:
        """Adds a line to stats.jsonl and draws curves.png, unless drawing has taken more than its share of time."""
        line = stats.as_line()
        append(self.run / "stats.jsonl", json.dumps(line, allow_nan=False))
        words = self._task.describe(stats.numbers)
        self.log(f"step {stats.step}  {words}  {rate(stats.images_per_second, 'image')}")
        self._events().add(line, stats.step)
        if last or self._drawing <= DRAWING * stats.seconds:
            begun = time.monotonic()
            self._draw_curves()
            if self._drawn % REPORT == 0:
                write_report(self.run)
            self._drawn += 1
            self._drawing += time.monotonic() - begun

    def _draw_curves(self) -> None:
        if self._curves is None:
            self._curves = Curves(self.run, self._task.panels)
        self._curves.draw()

    def snapshot(self, step: int) -> None:
        """Writes fakes_NNNNNN.png, from the same inputs every time."""
        name = f"fakes_{step:06d}.png"
        self._task.picture(self.run / name, self._config.seed, f"After {counted(step, 'step')}")
        self._events().add_image(self.run / name, step)

    def weights(self) -> None:
        """Writes generator.safetensors."""
        with replacing(self.run / "generator.safetensors") as file:
            file.write(as_safetensors(self._task, self._facts))

    def end(self) -> None:
        """Writes samples.png from new inputs, the animation for points, and the report."""
        self._task.picture(self.run / "samples.png", self._config.seed + 1, "Samples of the trained generator")
        if self._dataset.kind.animated:
            write_animation(self.run)
        write_report(self.run)
        self._events().close()
        self._board = None

    def _events(self) -> Board:
        if self._board is None:
            self._board = Board(self.run)
        return self._board


def as_safetensors(task: Task, facts: Facts) -> bytes:
    """The sampler's weights, with its input and output shapes in the metadata."""
    weights = {name: value.detach().cpu().contiguous() for name, value in task.sampler.state_dict().items()}
    # One key: safetensors writes several in arbitrary order, so the same weights could give different bytes.
    return save(weights, {"gpgan": json.dumps({**task.signature(), "shape": list(facts.shape)})})
