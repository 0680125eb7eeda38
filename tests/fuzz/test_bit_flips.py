"""One bit of a run's files flipped: the file is refused, or the run samples and trains on as if nothing had happened."""

from __future__ import annotations

import functools
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from same_runs import difference, state_of
from small_runs import without_pictures
from test_file_mutants import GOOD, QUICK, command, judged

STEPS = 4


@functools.cache
def run() -> Path:
    """A run that was stopped after 2 of 4 steps; its second newest checkpoint is of step 1."""
    without_pictures(pytest.MonkeyPatch())
    out = Path(tempfile.mkdtemp(dir="."))
    (out / "points.npy").write_bytes(GOOD["a.npy"])
    assert command("train", str(out / "points.npy"), *QUICK, "--out", str(out), "--name", "run")[0] == 0
    return out / "run"


@functools.cache
def expected(step: int) -> Any:
    """What the untouched run gives: its samples at step 1 or 2, or its state after the last step."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        copy = Path(folder, "run")
        shutil.copytree(run(), copy)
        if step == 1:
            (copy / "checkpoints" / "latest.pt").unlink()
        return samples(copy)[1] if step < STEPS else resumed(copy)[1]


def samples(copy: Path) -> tuple[str, Any]:
    out = copy / "a.npy"
    found = judged(*command("sample", str(copy), "-n", "5", "--out", str(out)))
    return found, np.load(out) if found == "done" else None


def resumed(copy: Path) -> tuple[str, Any]:
    found = judged(*command("resume", str(copy), "--steps", str(STEPS)))
    if found != "done":
        return found, None
    state = state_of(copy)
    return found, {**state, "config": {**json.loads(state["config"]), "out": ""}}


def outcome(number: int) -> str:
    """Where the bit is: every other one in a checkpoint, the others in any file of the run."""
    rng = random.Random(f"flip {number}")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        copy = Path(folder, "run")
        shutil.copytree(run(), copy)
        files = sorted(path for path in copy.rglob("*.pt" if number % 2 else "*") if path.is_file())
        file = rng.choice([path for path in files if path.stat().st_size])
        content = bytearray(file.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        # Not into the file itself, which may have a second name.
        file.unlink()
        file.write_bytes(content)
        listed = judged(*command("ls", folder))
        drawn, drawn_samples = samples(copy)
        ended, state = resumed(copy)
        where = file.relative_to(copy)
    faults = [found for found in (listed, drawn, ended) if found.startswith("!")]
    if listed != "done" or faults:
        return f"!{where}: {faults or listed}"
    if drawn == "done" and not any(np.array_equal(drawn_samples, expected(step)) for step in (1, 2)):
        return f"!{where}: other samples"
    if ended == "done" and (found := difference(state, expected(STEPS))):
        return f"!{where}: trained on to another end: {found}"
    if "refused" in (drawn, ended):
        return "refused"
    older = drawn_samples is not None and np.array_equal(drawn_samples, expected(1))
    return "refused, and the checkpoint before it is used" if older else "harmless"


def test_bit_flips(tally: Any) -> None:
    tally.in_children("test_bit_flips", few=20, many=300)
