"""Runs of several processes under torchrun: one run, one output, and all end if one of them fails."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from worker import Together, wait_for

from gpgan.cli import main
from gpgan.records import checkpoint
from gpgan.tasks.adversarial import Adversarial
from gpgan.training import trainer
from gpgan.util import processes

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
# Enough steps that no run ends by itself.
LONG = 1_000_000
FEW = ["--batch", "8", "--network.width", "8", "--n-critic", "1", "--threads", "1"]
LOST = "gpgan: another process of this run is lost"


def torchrun(*arguments: str) -> list[str]:
    options = ["--standalone", "--nproc-per-node=2", "-m", "gpgan"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *arguments]


def start(*arguments: str) -> subprocess.Popen[str]:
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(torchrun(*arguments), text=True, env=one_thread, **pipes)


def workers(launcher: int) -> list[int]:
    """The processes that torchrun has started, by rank."""
    pids = map(int, Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split())
    ranks = {}
    for pid in pids:
        found = re.search(rb"\0RANK=(\d+)\0", Path(f"/proc/{pid}/environ").read_bytes())
        if found:
            ranks[int(found[1])] = pid
    return [ranks[rank] for rank in sorted(ranks)]


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]


def under_way(run: Path) -> bool:
    path = run / "stats.jsonl"
    return path.exists() and path.read_bytes().count(b"\n") > 1


def goes_on(run: Path) -> None:
    """The run's newest checkpoint is intact, and one process resumes it for 2 more steps."""
    state, path, problems = checkpoint.newest(run)
    assert not problems, path
    assert main(["resume", str(run), "--steps", str(state["step"] + 2)]) == 0
    assert checkpoint.newest(run)[0]["step"] == state["step"] + 2


def test_one_run_from_outside(tmp_path):
    run = start("train", "digits", "--steps", "20", "--tick", "5", "--out", str(tmp_path), "--json", *FEW)
    out, err = run.communicate(timeout=110)
    assert run.returncode == 0, err
    told = out.splitlines()
    assert [line for line in told if "images of 1 x 8 x 8" in line] == [told[0]]
    assert "2 processes" in told[0]
    assert sum(line.startswith("Done at step 20") for line in told) == 1
    assert json.loads(told[-1]) == {"run": str(tmp_path / "00000-digits"), "step": 20, "reason": "done"}
    assert "gpgan:" not in err

    folder = tmp_path / "00000-digits"
    assert list(tmp_path.iterdir()) == [folder]
    assert [line["step"] for line in lines(folder)] == [5, 10, 15, 20]
    assert lines(folder)[-1]["images"] == 20 * 8
    log = (folder / "log.txt").read_text()
    assert [log.count(f"  step {step} ") for step in (5, 10, 15, 20)] == [1] * 4
    assert log.count("ended at step 20: done") == 1
    assert len(list(folder.glob("events.*"))) <= 1
    goes_on(folder)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the workers in /proc")
@pytest.mark.parametrize("end", ["a worker is killed", "torchrun is terminated"])
def test_torchrun_that_ends_early(tmp_path, end):
    folder = tmp_path / "run"
    where = ["--out", str(tmp_path), "--name", "run"]
    run = start("train", "digits", "--steps", str(LONG), "--tick", "5", "--checkpoint", "5", *where, *FEW)
    try:
        wait_for(lambda: under_way(folder), "two lines of statistics", 100)
        first, second = workers(run.pid)
        if end == "a worker is killed":
            os.kill(second, signal.SIGKILL)
        else:
            run.terminate()
        begun = time.monotonic()
        out, err = run.communicate(timeout=60)
        # torchrun waits 30 s before it kills processes that do not end.
        assert time.monotonic() - begun < 25
    finally:
        run.kill()
    assert run.returncode != 0
    assert not Path(f"/proc/{first}").exists()
    if end == "a worker is killed":
        assert err.count(LOST) == 1
        assert str(folder) in err[err.index(LOST) :]
    else:
        assert LOST not in err
        saved = checkpoint.newest(folder)[0]["step"]
        assert f"Interrupted and saved at step {saved}" in out
        assert lines(folder)[-1]["step"] == saved
        assert (folder / "log.txt").read_text().endswith(f"ended at step {saved}: signal\n")
    goes_on(folder)


def command(rank: int, *arguments: str) -> int:
    return main(arguments)


def impatient(rank: int, *arguments: str) -> int:
    processes.TIMEOUT = datetime.timedelta(seconds=6)
    return main(arguments)


def failing(rank: int, wrong: int, *arguments: str) -> int:
    """A command line in which one of the processes raises an error at step 8."""
    right = Adversarial.step

    def step(self: Adversarial, number: int) -> Any:
        if rank == wrong and number == 8:
            raise ArithmeticError("raised on purpose")
        return right(self, number)

    Adversarial.step = step  # type: ignore[method-assign]
    return main(arguments)


def train(tmp_path: Path, work: Callable[..., int] = command, *before: Any, **more: str) -> Together:
    options = {"--steps": str(LONG), "--tick": "5", "--checkpoint": "5", "--out": str(tmp_path), "--name": "run"}
    arguments = [part for option in (options | more).items() for part in option]
    return Together(tmp_path / "told", work, *before, "train", "digits", *FEW, *arguments)


@pytest.mark.parametrize("rank", [0, 1])
def test_kill_9(tmp_path, rank):
    with train(tmp_path) as pair:
        wait_for(lambda: under_way(tmp_path / "run"), "two lines of statistics")
        pair.send(rank, signal.SIGKILL)
        codes = pair.ended(20)
        assert codes[rank] == -signal.SIGKILL
        assert codes[1 - rank] == 1
        message = pair.complained()[1 - rank]
        assert message.count(LOST) == 1
        assert str(tmp_path / "run") in message
        assert "Traceback" not in message
    goes_on(tmp_path / "run")


def test_a_process_that_does_not_answer(tmp_path):
    with train(tmp_path, impatient) as pair:
        wait_for(lambda: under_way(tmp_path / "run"), "two lines of statistics")
        pair.send(1, signal.SIGSTOP)
        begun = time.monotonic()
        pair.processes[0].join(30)
        assert pair.processes[0].exitcode == 1
        assert 2 < time.monotonic() - begun < 25
        assert LOST in pair.complained()[0]
    goes_on(tmp_path / "run")


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_in_one_process(tmp_path, wrong):
    with train(tmp_path, failing, wrong) as pair:
        codes = pair.ended()
        assert codes[1 - wrong] == 1
        assert codes[wrong] not in (0, None)
        complained = pair.complained()
        assert "ArithmeticError: raised on purpose" in complained[wrong]
        assert LOST in complained[1 - wrong]
    assert checkpoint.newest(tmp_path / "run")[0]["step"] == 5
    goes_on(tmp_path / "run")


@pytest.mark.parametrize("rank", [0, 1])
def test_an_interrupt_of_one_ends_all(tmp_path, capsys, rank):
    """And until then the run is locked, by the first process for all."""
    with train(tmp_path) as pair:
        wait_for(lambda: under_way(tmp_path / "run"), "two lines of statistics")
        assert main(["resume", str(tmp_path / "run")]) == 2
        assert f"is being trained by process {pair.processes[0].pid} on " in capsys.readouterr().err
        pair.send(rank, signal.SIGINT)
        codes = pair.ended()
        assert codes[rank] == 130
        assert codes[1 - rank] in (130, 143)
        told = pair.told()
        assert "Interrupted and saved" in told[0]
        assert told[1] == ""
        assert pair.complained() == ["", ""]
    goes_on(tmp_path / "run")


def test_minutes_end_all(tmp_path):
    with train(tmp_path, **{"--minutes": "0.02"}) as pair:
        assert pair.ended() == [0, 0]
        assert "Time limit reached; saved" in pair.told()[0]
    assert (tmp_path / "run" / "log.txt").read_text().endswith(": minutes\n")


def test_bad_input_is_told_once(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").touch()
    cases: list[tuple[dict[str, str], str]] = [
        ({"--name": "taken"}, "already exists; to continue it: gpgan resume"),
        ({"--out": str(tmp_path / "file")}, "is not a folder, so no run can be created in it"),
        ({"--batch": "9"}, "batch is 9 and there are 2 processes; expected a multiple of 2"),
    ]
    for options, message in cases:
        with train(tmp_path, **options) as pair:
            assert pair.ended() == [2, 2], options
            both = "".join(pair.complained())
            assert both.count(message) == 1, both
            assert both.count("\n") == 1, both
            assert pair.told() == ["", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken", "told"]


def test_divergence_is_told_once(tmp_path):
    with train(tmp_path, **{"--optimizer.lr": "1e30"}) as pair:
        assert pair.ended() == [1, 1]
        assert "".join(pair.complained()).count("gpgan: training diverged: ") == 1
    assert checkpoint.newest(tmp_path / "run")[0]["step"] == 0


def taken_late(rank: int, *arguments: str) -> int:
    """A command line whose first process finds its run's folder taken only when it creates it."""
    make = trainer.create_run

    def late(out: Path, name: str | None, *rest: Any) -> Path:
        (out / str(name)).mkdir()
        return make(out, name, *rest)

    trainer.create_run = late  # type: ignore[assignment]
    return main(arguments)


def test_an_error_that_only_the_first_process_can_see(tmp_path):
    with train(tmp_path, taken_late) as pair:
        assert pair.ended() == [2, 2]
        assert ["already exists" in text for text in pair.complained()] == [True, False]
