"""Random options of ``gpgan train``: a run, or one line that refuses them."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from small_runs import without_pictures
from test_file_mutants import GOOD, command, judged, pixels

from gpgan import objectives
from gpgan.settings.config import options
from gpgan.settings.presets import PRESETS
from gpgan.tasks.registry import TASKS, task_class

# Values that no option takes, or that few do.
ODD = ["", "x", "-1", "0", "nan", "inf", "1e400", "1,5", "\x1b[31m", "9" * 30, "0x10", "ä", "true", "1e-320"]
SMALL = ["1", "2", "3", "4", "5", "8"]
NUMBERS = ["0", "1e-3", "0.5", "0.999", "1", "2.5", "10"]
KNOWN = {"objective": list(objectives.OBJECTIVES), "preset": list(PRESETS), "device": ["cpu", "auto", "cuda"]}
# Left to the end of the command line, which decides how long a run takes and where it is written.
FIXED = ("data", "task.name", "out", "name", "steps", "threads", "minutes")


@functools.cache
def folder() -> Path:
    """Small data of every kind."""
    out = Path(tempfile.mkdtemp(dir="."))
    rng = np.random.default_rng(0)
    np.save(out / "points.npy", rng.normal(size=(30, 2)))
    np.save(out / "wide.npy", rng.normal(size=(24, 5)))
    np.save(out / "images.npy", pixels(30, 8, 8))
    np.save(out / "coloured.npy", pixels(20, 3, 16, 16))
    np.save(out / "signals.npy", rng.normal(size=(20, 2, 32)))
    np.save(out / "volumes.npy", rng.normal(size=(10, 1, 8, 8, 8)))
    np.save(out / "few.npy", rng.normal(size=(2, 3)))
    np.savez(out / "labelled.npz", x=pixels(30, 8, 8), y=np.arange(30) % 3)
    (out / "photos").mkdir()
    for name in ("a.png", "grey.png", "a.jpg"):
        for number in range(4):
            (out / "photos" / f"{number}{name}").write_bytes(GOOD[name])
    return out


def values(name: str, metadata: Any, type: Any) -> list[str]:
    """Values of an option that leave a run small; most of them are allowed."""
    if name in KNOWN:
        return KNOWN[name]
    if get_args(type):
        return [str(each) for each in get_args(type)]
    if type is int:
        least = int(metadata["least"])
        return [*SMALL * 3, str(least), str(least - 1), str(int(metadata["most"]) + 1)]
    return NUMBERS if type is float else ["", "gpgan:version", "nothing:here"]


def flags(rng: random.Random, task: str) -> list[str]:
    known = [(name, field.metadata, type) for name, field, type in options(task_class(task).config_class)]
    chosen = rng.sample([each for each in known if each[0] not in FIXED], rng.choice([0, 1, 2, 3, 5, 8, 13]))
    found: list[str] = []
    for name, metadata, type in chosen:
        flag = f"--{name.replace('_', '-')}"
        if type is bool:
            found.append(flag)
            continue
        odd = rng.random() < 0.08
        found.append(f"{flag}={rng.choice(ODD if odd else values(name, metadata, type))}")
    return found


def outcome(number: int) -> str:
    rng = random.Random(f"configuration {number}")
    without_pictures(pytest.MonkeyPatch())
    task = rng.choice([name for name in TASKS for _ in range(4 if name == "generation" else 1)])
    data = rng.choice(["ring", *(str(path) for path in sorted(folder().iterdir()))])
    given = flags(rng, task)
    # What an option would make large, unless it is among those chosen.
    names = {flag.partition("=")[0] for flag in given}
    known = {f"--{name.replace('_', '-')}" for name, *_ in options(task_class(task).config_class)}
    usual = {"--batch": "4", "--n-critic": "1", "--network.width": "4", "--task.voxel": "10", "--task.poses": "4"}
    usual = {flag: value for flag, value in usual.items() if flag in known}
    bounded = [f"{flag}={value}" for flag, value in usual.items() if flag not in names]
    with tempfile.TemporaryDirectory(dir=".") as out:
        line = ["train", data, "--task", task, *given, *bounded, "--steps=1", "--threads=1", "--out", out, "--name=run"]
        found = judged(*command(*line))
        kept = Path(out, "run", "checkpoints", "latest.pt")
        if found == "done":
            state = torch.load(kept, weights_only=True)
            found = "done" if state["step"] == 1 else f"!step {state['step']}"
    return f"{found}\n{' '.join(line)}" if found.startswith("!") else found


def test_configurations(tally: Any) -> None:
    tally.in_children("test_configurations", few=40, many=1500)
