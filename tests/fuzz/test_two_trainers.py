"""A second trainer on a run that is training: refused in a line; readers work; the first ends as if it were alone."""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from same_runs import Do, assert_same, draw_bits, small
from test_file_mutants import GOOD, command, judged

from gpgan.training.trainer import Trainer

STEPS = 12
SIZE = {"steps": STEPS, "batch": 4, "n_critic": 1, "tick": 2, "checkpoint": 2, "snapshot": 5}


class Others:
    """Calls commands on a run, in a thread of their own, while its trainer takes a step."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self.rng, self.folder, self.faults = rng, folder, list[str]()

    def __call__(self, trainer: Trainer) -> None:
        if self.rng.random() < 0.3:
            other = threading.Thread(target=self.meddle, args=(trainer.run,))
            other.start()
            if self.rng.random() < 0.5:  # else beside the steps that follow
                other.join()

    def meddle(self, run: Path) -> None:
        expected, *arguments = self.rng.choice(
            [
                ("refused", "resume", str(run), "--steps", str(2 * STEPS)),
                ("refused", "resume", str(run)),
                ("refused", "train", str(self.folder / "points.npy"), "--out", str(run.parent), "--name", run.name),
                ("done", "eval", str(run), "-n", "10"),
                ("done", "sample", str(run), "-n", "4", "--out", str(self.folder / "a.npy")),
                ("done", "ls", str(run.parent)),
            ]
        )
        with OUTPUT:
            found = judged(*command(*arguments))
        if found != expected:
            self.faults.append(f"{arguments[0]}: {found}")


# The commands' output is caught by replacing sys.stdout, which one thread at a time may do.
OUTPUT = threading.Lock()


def outcome(number: int) -> str:
    rng = random.Random(f"trainers {number}")
    draw_bits(pytest.MonkeyPatch())
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        (folder / "points.npy").write_bytes(GOOD["a.npy"])
        others = Others(rng, folder)
        config = small(folder / "beside", str(folder / "points.npy"), name="run", **SIZE)
        run = Trainer(config, callbacks=[Do(others)]).fit().run
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                with contextlib.suppress(RuntimeError):
                    thread.join(30)
        alone = Trainer(small(folder / "alone", str(folder / "points.npy"), name="run", **SIZE)).fit().run
        assert_same(alone, run)
    return "!" + "; ".join(others.faults) if others.faults else "refused, and ended as if it were alone"


def test_two_trainers(tally: Any) -> None:
    tally.in_children("test_two_trainers", few=4, many=60)
