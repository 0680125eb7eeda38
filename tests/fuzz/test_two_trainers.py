"""A second trainer on a run that is training: refused in a line; readers work; the first ends as if it were alone."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from same_runs import Do, assert_same, draw_bits, small
from test_file_mutants import GOOD, command, judged

from gpgan.training.trainer import Trainer

STEPS = 12
SIZE = {"steps": STEPS, "batch": 4, "n_critic": 1, "tick": 2, "checkpoint": 2, "snapshot": 5}


class Others:
    """Calls commands on a run, each in a process of its own, while its trainer takes steps."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self.rng, self.folder, self.started = rng, folder, dict[int, str]()

    def __call__(self, trainer: Trainer) -> None:
        if self.rng.random() < 0.3:
            assert trainer.run is not None
            self.start(trainer.run)
        if trainer.step == STEPS:  # a resume after the end would be right to continue the run
            self.wait_for_all()

    def start(self, run: Path) -> None:
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
        at_once = self.rng.random() < 0.5  # or beside the steps that follow
        process = os.fork()
        if process == 0:
            found = judged(*command(*arguments))
            os._exit(0 if found == expected else self.note(f"{arguments}: {found}"))
        self.started[process] = " ".join(arguments)
        if at_once:
            self.wait(process)

    def note(self, fault: str) -> int:
        with (self.folder / "faults").open("a") as file:
            file.write(f"{fault}\n")
        return 0

    def wait(self, process: int) -> None:
        arguments = self.started.pop(process)
        status = os.waitpid(process, 0)[1]
        if status:
            self.note(f"{arguments}: ended with {status}")

    def wait_for_all(self) -> None:
        for process in list(self.started):
            self.wait(process)

    def faults(self) -> str:
        path = self.folder / "faults"
        return path.read_text() if path.exists() else ""


def outcome(number: int) -> str:
    rng = random.Random(f"trainers {number}")
    draw_bits(pytest.MonkeyPatch())
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        (folder / "points.npy").write_bytes(GOOD["a.npy"])
        others = Others(rng, folder)
        config = small(folder / "beside", str(folder / "points.npy"), name="run", **SIZE)
        run = Trainer(config, callbacks=[Do(others)]).fit().run
        faults = others.faults()
        alone = Trainer(small(folder / "alone", str(folder / "points.npy"), name="run", **SIZE)).fit().run
        assert_same(alone, run)
    return f"!{faults}" if faults else "others refused, and ended as if it were alone"


def test_two_trainers(tally: Any) -> None:
    tally.in_children("test_two_trainers", few=3, many=60)
