"""Runs ended from outside: orderly by a signal, at once by a second one, at any moment by kill -9."""

import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from same_runs import Do, assert_same, draw_bits, files_of, numbers_of, small

from gpgan.cli import main
from gpgan.records import checkpoint
from gpgan.training import interrupt
from gpgan.training.callbacks import Callback
from gpgan.training.trainer import Trainer

# From a fork server that has already imported everything, so that processes start at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["test_killed", "gpgan.cli.resume", "gpgan.cli.train", "torch._dynamo"])
SIZE = {"steps": 10**6, "batch": 4, "n_critic": 1, "tick": 4, "checkpoint": 2, "keep": 100, "snapshot": 50}
KILLS, STARTS = 50, 10
LONG = 60


class Reports(Callback):
    """Sends the step of each checkpoint once it is written."""

    def __init__(self, pipe):
        self.pipe = pipe

    def on_begin(self, trainer):
        self.pipe.send(("begun", trainer.step))

    def on_checkpoint(self, trainer, path):
        self.pipe.send(("saved", trainer.step))


@pytest.fixture(scope="module", autouse=True)
def _server():
    with pytest.MonkeyPatch.context() as patch:
        # It imports its modules before it is told the path of the tests.
        patch.setenv("PYTHONPATH", os.pathsep.join(path or os.getcwd() for path in sys.path))
        multiprocessing.forkserver.ensure_running()


@pytest.fixture(autouse=True)
def _none_left():
    yield
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def begin(out, data, pipe):
    draw_bits(pytest.MonkeyPatch())
    trainer = Trainer(small(out, data, name="run", **SIZE), callbacks=[Reports(pipe)])
    pipe.send(("ready", 0))
    trainer.fit()


def go_on(run, pipe):
    draw_bits(pytest.MonkeyPatch())
    Trainer.resume(run, callbacks=[Reports(pipe)]).fit()


def started(target, *arguments):
    """A process and the pipe that it reports through."""
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=target, args=(*arguments, there))
    process.start()
    there.close()
    return process, here


def heard(pipe):
    """Everything that an ended process has sent."""
    messages = []
    try:
        while pipe.poll(0):
            messages.append(pipe.recv())
    except EOFError:
        pass
    return messages


def killed(process):
    process.kill()
    process.join(LONG)
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points.npy"
    np.save(path, np.random.default_rng(0).normal(size=(60, 2)))
    return str(path)


def test_killed_50_times(tmp_path, points, monkeypatch):
    moments = random.Random(0)
    process, pipe = started(begin, tmp_path / "killed", points)
    run, reached, known = tmp_path / "killed" / "run", [], 0
    for _ in range(KILLS):
        while pipe.recv()[0] != "begun":
            pass
        time.sleep(moments.uniform(0, 0.15))
        killed(process)
        known = max([known, *(step for what, step in heard(pipe) if what == "saved")])
        state, _, problems = checkpoint.newest(run)
        assert problems == []
        # A save may be finished but not yet reported.
        assert known <= state["step"] <= known + SIZE["checkpoint"]
        known = state["step"]
        reached.append(known)
        process, pipe = started(go_on, run)
        assert pipe.poll(LONG)
    killed(process)
    assert len(set(reached)) > KILLS / 2  # most were killed after the first checkpoint
    draw_bits(monkeypatch)
    steps = checkpoint.newest(run)[0]["step"] + 3
    Trainer.resume(run, steps=steps).fit()
    assert_same(Trainer(small(tmp_path / "whole", points, name="run", **{**SIZE, "steps": steps})).fit().run, run)
    assert not list((run / "checkpoints").glob(".*"))


def test_killed_at_the_start(tmp_path, points, capsys):
    """A run gets its name once it can be resumed, not before."""
    moments, takes = random.Random(1), None
    for number in range(STARTS):
        out = tmp_path / f"{number}"
        process, pipe = started(begin, out, points)
        assert pipe.recv() == ("ready", 0)
        begun = time.monotonic()
        if takes is None:  # the first one may begin, to measure how long that takes here
            assert pipe.recv() == ("begun", 0)
            takes = time.monotonic() - begun
        else:
            time.sleep(moments.uniform(0, 1.2 * takes))
        killed(process)
        names = [path.name for path in out.iterdir()] if out.exists() else []
        assert all(name == "run" or (name.startswith(".run-") and name.endswith(".partial")) for name in names)
        assert "run" in names or number > 0
        if "run" in names:
            assert checkpoint.newest(out / "run")[2] == []
            assert json.loads((out / "run" / "config.json").read_text())["config"]["name"] == "run"
        elif out.exists():
            capsys.readouterr()
            assert main(["ls", str(out)]) == 0
            assert ".run-" not in capsys.readouterr().out
            assert main(["train", points, *FLAGS, "--steps", "1", "--out", str(out), "--name", "run"]) == 0


SLOW = '''
import os, time
import torch
from torch import nn

class Critic(nn.Module):
    """From its 20th call on, takes longer than a test waits."""

    def __init__(self, shape):
        super().__init__()
        self.layer, self.calls = nn.Linear(shape[0], 1), 0

    def forward(self, samples):
        self.calls += 1
        if self.calls > 20:
            print("slow", flush=True)
            time.sleep(600)
        return self.layer(samples).squeeze(1)
'''


def command(arguments, folder, pipe):
    """Runs ``gpgan`` in its own process in a folder, with its output there."""
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background of a shell
    for stream, name in ((1, "out.txt"), (2, "err.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    draw_bits(pytest.MonkeyPatch())
    pipe.close()
    sys.exit(main(arguments))


def until(true, process):
    end = time.monotonic() + LONG
    while not true():
        assert process.exitcode is None if hasattr(process, "exitcode") else process.poll() is None
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


FLAGS = ["--batch", "4", "--n-critic", "1", "--network.width", "4", "--network.latent", "2", "--threads", "1"]


def arguments(data, *more):
    return ["train", data, *FLAGS, "--steps", "1000000", "--tick", "5", "--name", "run", "--out", ".", *more]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_a_resumed_run_is_the_same_training(tmp_path, points, monkeypatch, number, status):
    process, _ = started(command, arguments(points), tmp_path)
    run = tmp_path / "run"
    until(lambda: (run / "stats.jsonl").exists(), process)
    os.kill(process.pid, number)
    process.join(LONG)
    assert (process.exitcode, (tmp_path / "err.txt").read_text()) == (status, "")
    step = checkpoint.newest(run)[0]["step"]
    assert f"Interrupted and saved at step {step}" in (tmp_path / "out.txt").read_text()
    assert f"ended at step {step}: signal" in (run / "log.txt").read_text()
    assert numbers_of(run)[-1]["step"] == step
    assert [path for path in files_of(run) if path.name.endswith(".partial")] == []
    draw_bits(monkeypatch)
    Trainer.resume(run, steps=step + 7).fit()
    monkeypatch.chdir(tmp_path)
    assert main([*arguments(points), "--out", "whole", "--steps", str(step + 7)]) == 0
    assert_same(tmp_path / "whole" / "run", run)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once_and_the_last_checkpoint_stands(tmp_path, points, number, status):
    (tmp_path / "slow.py").write_text(SLOW)
    process, _ = started(command, arguments(points, "--network.critic", "slow:Critic", "--checkpoint", "2"), tmp_path)
    until(lambda: "slow" in (tmp_path / "out.txt").read_text() if (tmp_path / "out.txt").exists() else False, process)
    before = files_of(tmp_path / "run")
    os.kill(process.pid, number)
    time.sleep(interrupt.ECHO + 0.3)
    assert process.exitcode is None  # the step is still running
    os.kill(process.pid, number)
    process.join(10)
    assert process.exitcode == status
    assert "Traceback" not in (tmp_path / "err.txt").read_text()
    assert files_of(tmp_path / "run") == before
    state, _, problems = checkpoint.newest(tmp_path / "run")
    assert state["step"] > 0
    assert problems == []


def test_a_second_signal_while_the_checkpoint_is_written(tmp_path, monkeypatch):
    """The previous checkpoint is intact."""
    draw_bits(monkeypatch)
    monkeypatch.setattr(interrupt, "ECHO", -1.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    real = checkpoint.replacing

    def late(path, keep=None):
        if trainer.step == 7:
            signal.raise_signal(signal.SIGINT)
        return real(path, keep)

    trainer = Trainer(small(tmp_path, "ring", steps=20, checkpoint=5))
    trainer.callbacks = [Do(lambda trainer: signal.raise_signal(signal.SIGINT) if trainer.step == 7 else None)]
    monkeypatch.setattr(checkpoint, "replacing", late)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit()
    finally:
        signal.signal(signal.SIGINT, before)
    state, _, problems = checkpoint.newest(trainer.run)
    assert (state["step"], problems) == (5, [])
    monkeypatch.setattr(checkpoint, "replacing", real)
    resumed = Trainer.resume(trainer.run).fit().run
    assert_same(Trainer(small(tmp_path / "whole", "ring", steps=20, checkpoint=5)).fit().run, resumed)


def test_from_a_shell(tmp_path, points):
    """``python -m gpgan`` with all its pictures, terminated and resumed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gpgan", *arguments(points)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    until(lambda: (tmp_path / "run" / "stats.jsonl").exists(), process)
    process.terminate()
    out, err = process.communicate(timeout=LONG)
    assert (process.returncode, err) == (143, "")
    step = checkpoint.newest(tmp_path / "run")[0]["step"]
    assert f"Interrupted and saved at step {step}" in out
    assert (tmp_path / "run" / "report.html").exists()
    assert main(["resume", str(tmp_path / "run"), "--steps", str(step + 2)]) == 0
    assert checkpoint.newest(tmp_path / "run")[0]["step"] == step + 2
