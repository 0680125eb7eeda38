"""Trains the runs of a table in turns, a process on a core of its own each, and gathers their results."""

from __future__ import annotations

import datetime
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.runs import quality
from benchmarks.runs.plan import Job, Record, Scale, Table
from benchmarks.runs.slice import done
from gpgan.util.files import write_json

ROOT = Path(__file__).parents[2]
# The most load that other processes may put on a core while a table is measured.
LOAD = 0.5
# Lines of a run's history that its result keeps.
LINES = 60


class LoadedError(RuntimeError):
    """The machine had other work to do."""


class Runner:
    """Trains a table's runs and evaluates them; what is finished in ``folder`` is not repeated.

    Args:
        table: Scaled.
        scale: That scale.
        device: "cpu", or "cuda", on which one run trains at a time.
        folder: For the runs.
    """

    def __init__(self, table: Table, scale: Scale, device: str, folder: Path) -> None:
        self.table, self.scale, self.device, self.folder = table, scale, device, folder
        self.cores = (
            sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
        )
        self.workers = len(self.cores) if device == "cpu" else 1
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Does what is left.

        Raises:
            RuntimeError: A slice or an evaluation failed.
        """
        for index in range(self.table.slices):
            self._each(lambda job, index=index: self._slice(job, index))
        if self.table.metrics:
            self._each(self._evaluate)
            self._sizes()

    def _each(self, work: Callable[[Job], None]) -> None:
        """Calls ``work`` with every run, in as many threads as there are workers, each with its core."""
        free: queue.Queue[int] = queue.Queue()
        for core in self.cores[: self.workers]:
            free.put(core)

        def pin() -> None:
            if self.device == "cpu" and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, {free.get()})  # this thread and the processes that it starts

        with ThreadPoolExecutor(self.workers, initializer=pin) as pool:
            waiting = [pool.submit(work, job) for job in self.table.jobs]
            try:
                for each in waiting:
                    each.result()
            except BaseException:
                self._stopped.set()
                for each in waiting:
                    each.cancel()
                for process in list(self._processes):
                    process.terminate()
                raise

    def _slice(self, job: Job, index: int) -> None:
        folder = self.folder / job.name
        records = done(folder)
        if len(records) > index or (records and records[-1]["diverged"]):
            return
        sys.stderr.write(f"{self.table.name}: {job.name}, slice {index + 1} of {self.table.slices}\n")
        where = [self.table.name, job.name, str(index), str(folder), "--scale", self.scale, "--device", self.device]
        self._call("benchmarks.runs.slice", *where)
        kept = {index, best(done(folder))}
        for path in folder.iterdir():
            if path.is_dir() and int(path.name) not in kept:
                shutil.rmtree(path)

    def _call(self, module: str, *arguments: str) -> None:
        environment = {**os.environ, **({"OMP_NUM_THREADS": "1"} if self.device == "cpu" else {})}
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment)
        self._processes.add(process)
        status = process.wait()
        self._processes.discard(process)
        if status and not self._stopped.is_set():
            raise RuntimeError(f"python -m {module} {' '.join(arguments)} ended with status {status}")

    def _evaluate(self, job: Job) -> None:
        """Reports on the last state of a run, and on the selected one if it is another."""
        folder, records = self.folder / job.name, done(self.folder / job.name)
        if records[-1]["diverged"]:
            return
        states = {"last": len(records) - 1, **({"selected": best(records)} if self.table.selects else {})}
        for index in sorted(set(states.values())):
            self._report(folder, index, self.table.n, self.table.metrics, f"quality-{index}.json")
        write_json(folder / "states.json", states)

    def _report(self, folder: Path, index: int, n: int, metrics: Sequence[str], name: str) -> None:
        if not (folder / name).exists() and not self._stopped.is_set():
            write_json(folder / name, quality.report(folder / str(index), n, metrics, self.device))

    def _sizes(self) -> None:
        """Evaluates the first run that did not diverge with several numbers of samples."""
        folders = [self.folder / job.name for job in self.table.jobs]
        folder = next((each for each in folders if not done(each)[-1]["diverged"]), None)
        if folder is not None:
            for n, metrics in self.table.sizes.items():
                self._report(folder, self.table.slices - 1, n, metrics, f"size-{n}.json")

    def result(self) -> Record:
        """Everything that documents and figures are made from."""
        described = machine.describe(self.device, command(self.table.name, self.scale, self.device))
        described["cpu_threads"] = 1 if self.device == "cpu" else described["cpu_threads"]
        return {
            "table": self.table.name,
            "scale": self.scale,
            "date": str(datetime.date.today()),
            "machine": described,
            "workers": self.workers,
            "cores": len(self.cores),
            "data": self.table.data,
            "seconds": self.table.seconds,
            "n": self.table.n,
            "own_n": self.table.own_n,
            "runs": [self._gathered(job) for job in self.table.jobs],
        }

    def _gathered(self, job: Job) -> Record:
        folder = self.folder / job.name
        records = done(folder)
        history = [line for each in records for line in each.pop("history")]
        full = ("critic_loss",) if self.table.steps else ()  # these runs' losses are compared, step by step
        if not full:
            history = history[:: -(-len(history) // LINES) or 1]
        run: Record = {"method": job.method, "seed": job.seed, "diverged": records[-1]["diverged"]}
        run["config"] = [each.pop("config") for each in records][-1]
        for local in ("out", "name"):  # paths of this machine
            run["config"].pop(local, None)
        run["own"] = records[-1].pop("own", None)
        run |= {
            "slices": records,
            "history": [
                {name: value if name in full else short(value) for name, value in line.items()} for line in history
            ],
        }
        if (folder / "states.json").exists():
            states = _read(folder / "states.json")
            run["quality"] = {name: _read(folder / f"quality-{index}.json") for name, index in states.items()}
            run["states"] = states
        run["sizes"] = {str(n): _read(path) for n in self.table.sizes if (path := folder / f"size-{n}.json").exists()}
        return run

    def again(self) -> None:
        """Forgets the runs that were trained beside other work."""
        for job in self.table.jobs:
            if max((each["others"] for each in done(self.folder / job.name)), default=0.0) > LOAD:
                shutil.rmtree(self.folder / job.name)


def best(records: Sequence[Record]) -> int:
    """The slice whose end was best on the selection part; the last one without such an evaluation."""
    scores = [(each.get("selection") or {}).get("kd") for each in records]
    known = [(score, index) for index, score in enumerate(scores) if score is not None]
    return min(known)[1] if known else len(records) - 1


def check_load(result: Record) -> None:
    """Raises LoadedError if other processes put more than ``LOAD`` per core on the machine during a run."""
    most = [max(each["others"] for each in run["slices"]) for run in result["runs"]]
    busy = sum(each > LOAD for each in most)
    if busy:
        raise LoadedError(
            f"{busy} of {len(result['runs'])} runs of the table {result['table']} were trained while other processes put a "
            f"load of up to {max(most):.2f} on a core; expected at most {LOAD} for a table that is published: repeat those "
            f"runs on a quiet machine with --again"
        )


def command(table: str, scale: Scale, device: str) -> str:
    given = [*([] if scale == "small" else [f"--scale {scale}"]), *([] if device == "cpu" else [f"--device {device}"])]
    return " ".join(["python -m benchmarks.runs", table, *given])


def short(value: Any) -> Any:
    """Six significant digits."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
