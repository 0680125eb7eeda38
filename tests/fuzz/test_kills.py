"""Runs killed (SIGKILL) at random moments and continued: they end bit for bit as one that nobody killed."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from same_runs import assert_same, draw_bits, small

from gpgan.records import checkpoint
from gpgan.training.trainer import Trainer

PROCESSES = multiprocessing.get_context("forkserver")
SIZE = {"steps": 30, "batch": 4, "n_critic": 1, "tick": 4, "checkpoint": 3, "keep": 9, "snapshot": 7}
PATIENCE = 60


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    yield
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def train(out: Path, data: str) -> None:
    """Begins the run, or continues it; nothing is left to do for one that was killed after its last file."""
    draw_bits(pytest.MonkeyPatch())
    if not (out / "run").exists():
        Trainer(small(out, data, name="run", **SIZE)).fit()
        return
    try:
        trainer = Trainer.resume(out / "run")
    except ValueError as error:
        if "already at step" not in str(error):
            raise
        return
    trainer.fit()


def started(out: Path, data: str) -> BaseProcess:
    process = PROCESSES.Process(target=train, args=(out, data))
    process.start()
    return process


def phase(run: Path) -> str:
    """What a killed run was doing."""
    if not run.exists():
        return "before its first checkpoint"
    state, _, problems = checkpoint.newest(run)
    assert problems == []
    return "after its last step" if state["step"] == SIZE["steps"] else "during training"


def test_kills(tally: Any, tmp_path: Path) -> None:
    data, rng = str(tmp_path / "points.npy"), random.Random("kills")
    np.save(data, np.random.default_rng(0).normal(size=(60, 2)))
    whole, out = tmp_path / "whole", tmp_path / "killed"
    begun = time.monotonic()
    started(whole, data).join(PATIENCE)
    takes = time.monotonic() - begun
    for number in tally.cases(few=8, many=200):
        process = started(out, data)
        process.join(rng.uniform(0, takes))
        while process.exitcode is not None:  # it came to its end first
            assert process.exitcode == 0
            assert_same(whole / "run", out / "run")
            shutil.rmtree(out)
            process = started(out, data)
            process.join(rng.uniform(0, takes))
        process.kill()
        process.join(PATIENCE)
        assert process.exitcode in (-signal.SIGKILL, 0), f"case {number}"
        tally.held(phase(out / "run"))
    process = started(out, data)
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert_same(whole / "run", out / "run")
    assert not [path for path in (out / "run").rglob(".*") if path.name.endswith(".partial")]
