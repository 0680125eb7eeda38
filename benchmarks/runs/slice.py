"""``python -m benchmarks.runs.slice``: trains one slice of one run, in a process of its own.

A slice is done once FOLDER/<index>.json exists. It trains in FOLDER/<index>, a copy of the slice before it, so that a
process may be killed at any moment: the slice is then trained again, from the same state.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.runs import quality, tables
from benchmarks.runs.plan import Job, Record, Table
from gpgan.records.stats import Stats
from gpgan.settings.merging import settings_of
from gpgan.settings.presets import PRESETS
from gpgan.tasks.configure import configure
from gpgan.training.callbacks import Callback
from gpgan.training.trainer import DivergedError, Trainer
from gpgan.util.files import write_json

# More steps than any run does. Also the interval of pictures and checkpoints, which only the end of a slice needs.
NEVER = 10**12
# The first steps of a process are not timed: they choose algorithms and check the critic.
UNTIMED = 3
KEPT = ("estimate", "held_out", "critic_loss", "norm_mean", "norm_std", "norm_max")


class Clock(Callback):
    """Stops a run after its share of seconds or steps, and keeps what it reports.

    Args:
        before: Seconds of the slices before.
        seconds: At which to stop, those included.
        steps: At which to stop.
        device: CPU time is counted on "cpu", on a GPU the time that passes.
    """

    def __init__(self, before: float, seconds: float, steps: float, device: str) -> None:
        self.before, self.seconds, self.steps, self.device = before, seconds, steps, device
        self.now = time.process_time if device == "cpu" else time.monotonic
        self.marks: list[float] = []
        self.history: list[Record] = []
        self.load = {"before": load(), "most": load()}
        self.wall_begun = self.wall_now = time.monotonic()

    @property
    def spent(self) -> float:
        return self.before + (self.marks[-1] - self.begun if self.marks else 0.0)

    def on_begin(self, trainer: Trainer) -> None:
        self.added = memory_added(self.device)
        self.begun, self.wall_begun = self.now(), time.monotonic()

    def on_step(self, trainer: Trainer) -> None:
        self.marks.append(self.now())
        self.wall_now = time.monotonic()
        if self.spent >= self.seconds or trainer.step >= self.steps:
            trainer.stop()

    def on_tick(self, trainer: Trainer, stats: Stats) -> None:
        self.load["most"] = max(self.load["most"], load())
        numbers = {name: stats.numbers.get(name) for name in KEPT}
        self.history.append({"step": stats.step, "images": stats.images, "seconds": self.spent, **numbers})

    def others(self) -> float:
        """The load that other processes put on the core: the time that they took, per time that this one had. A GPU's
        work is not on a core: there it is the load beside one of its own, per core."""
        if self.now is time.process_time:
            own = self.spent - self.before
            return max(0.0, (self.wall_now - self.wall_begun) / own - 1) if own else 0.0
        return max(0.0, self.load["most"] - 1) / (os.cpu_count() or 1)

    def step_seconds(self) -> float | None:
        """The median time of a step; on a GPU, which runs behind the host, the mean."""
        times = [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)][UNTIMED:]
        mean = statistics.median if self.now is time.process_time else statistics.fmean
        return mean(times) if times else None


def memory_added(device: str) -> Callable[[], float | None]:
    """Returns a function that says how many MiB more than now were in use at the peak since now; None if unknown."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        base = torch.cuda.memory_allocated()
        return lambda: (torch.cuda.max_memory_allocated() - base) / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        now = _resident("VmRSS")
    except OSError:
        return lambda: None
    return lambda: _resident("VmHWM") - now


def _resident(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def load() -> float:
    """The machine's load, averaged over a minute."""
    return os.getloadavg()[0]


def settings(table: Table, job: Job, device: str) -> dict[str, Any]:
    """As for ``configure``."""
    ours = {"seed": job.seed, "device": device, "threads": 1 if device == "cpu" else 0, "tick": table.tick}
    rare = {"snapshot": NEVER, "checkpoint": NEVER, **(quality.SELECTING if table.selects else quality.ALONE)}
    # A preset's own number of steps is part of its schedule.
    steps = {} if "steps" in PRESETS[job.settings.get("preset", "auto")] else {"steps": NEVER}
    return {**ours, **rare, **steps, **({"steps": table.steps} if table.steps else {}), **job.settings}


def train(table: Table, job: Job, index: int, device: str, folder: Path) -> None:
    """Trains slice ``index``, counted from 0, of a run in its folder, and writes its record."""
    run = folder / str(index)
    shutil.rmtree(run, ignore_errors=True)
    before = done(folder)[:index]
    clock = Clock(
        sum(each["seconds"] for each in before),
        float("inf") if table.steps else table.seconds * (index + 1) / table.slices,
        table.steps * (index + 1) // table.slices or NEVER,
        device,
    )
    if index:
        shutil.copytree(folder / str(index - 1), run)
        trainer = Trainer.resume(run, callbacks=[clock])
    else:
        config = configure(table.data, **settings(table, job, device), out=folder, name=run.name)
        trainer = Trainer(config, callbacks=[clock])
    table.prepare(trainer, job.method)
    diverged = ""
    try:
        if trainer.fit().reason == "signal":
            raise SystemExit(130)
    except DivergedError as error:
        diverged = str(error)
    record = {
        "seconds": clock.spent - clock.before,
        "others": clock.others(),
        "step_seconds": clock.step_seconds(),
        "step": trainer.step,
        "images": trainer.step * trainer.task.samples_per_step,
        "memory": clock.added(),
        "load": clock.load,
        "diverged": diverged,
        "history": clock.history,
        "config": settings_of(trainer.config),
    }
    if not diverged:
        if table.selects:
            record["selection"] = quality.selection(trainer)
        if table.own is not None and index == table.slices - 1:
            record["own"] = table.own(trainer, table.own_n)
    write_json(folder / f"{index}.json", record)


def done(folder: Path) -> list[Record]:
    """The records of a run's finished slices."""
    records: list[Record] = []
    while (path := folder / f"{len(records)}.json").exists():
        records.append(json.loads(path.read_text("utf-8")))
    return records


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runs.slice", description=__doc__)
    parser.add_argument("table", choices=tables.TABLES)
    parser.add_argument("job")
    parser.add_argument("index", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", default="small")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    table = tables.TABLES[given.table].scaled(given.scale)
    [job] = [job for job in table.jobs if job.name == given.job]
    given.folder.mkdir(parents=True, exist_ok=True)
    train(table, job, given.index, given.device, given.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
