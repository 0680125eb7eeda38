"""A console that goes away: a closed pipe, a closed terminal, a full disk. Training continues without it."""

import errno
import io
import os
import signal
import sys

import pytest
from small_runs import Do

from gpgan.cli import main, running
from gpgan.cli.console import Lasting, make_console
from gpgan.cli.progress import loading
from gpgan.records import checkpoint
from gpgan.training import interrupt
from gpgan.training.interrupt import Interrupt, hang_up

pytestmark = pytest.mark.usefixtures("undrawn")


class Breaking(io.StringIO):
    """A stream whose writes fail after the first ``last``."""

    def __init__(self, number, last, terminal=False):
        super().__init__()
        self.error, self.left, self.terminal = OSError(number, os.strerror(number)), last, terminal

    def write(self, text):
        if self.left == 0:
            raise self.error
        self.left -= 1
        return super().write(text)

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize("last", [0, 2])
@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("terminal", [False, True])
def test_training_goes_on_without_its_console(tmp_path, quick, monkeypatch, capsys, number, last, terminal):
    stream = Breaking(number, last, terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["train", "digits", *quick, "--out", str(tmp_path), "--name", "run", "--json"]) == 0
    assert stream.left == 0
    assert checkpoint.newest(tmp_path / "run")[0]["step"] == 4
    assert (tmp_path / "run" / "log.txt").read_text().endswith("ended at step 4: done\n")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("gone", ["closed", "none"])
def test_without_a_console_from_the_start(tmp_path, quick, monkeypatch, gone):
    """As with >&- in a shell, where Python has no sys.stdout."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream if gone == "closed" else None)
    assert main(["train", "digits", *quick, "--out", str(tmp_path), "--name", "run"]) == 0


def test_a_pipe_that_is_closed_after_one_line(tmp_path, quick, monkeypatch):
    """As in ``gpgan train ... | head -1``; nothing is left that the interpreter could not flush at its exit."""
    here, there = os.pipe()
    with os.fdopen(there, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(running, "_introduce", lambda trainer, console, _: (console.print("one"), os.close(here)))
        assert main(["train", "digits", *quick, "--out", str(tmp_path)]) == 0
        sys.stdout.write("more")  # to nowhere
    assert checkpoint.newest(tmp_path / "00000-digits")[0]["step"] == 4


def test_text_that_a_console_cannot_show_is_still_an_error():
    stream = Lasting(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with pytest.raises(UnicodeEncodeError):
        stream.write("ž")
    stream.write("z")
    stream.flush()
    assert stream.buffer.getvalue() == b"z"


def test_a_console_that_works_is_as_it_was(capsys):
    make_console().print("[x] :smile: 1.5")
    assert capsys.readouterr().out == "[x] :smile: 1.5\n"


def test_reading_goes_on_without_stderr(monkeypatch):
    for stream in (Breaking(errno.EIO, 0), None):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr("gpgan.cli.progress.PATIENCE", -1.0)
        with loading() as tell:
            tell(1, 1)


@pytest.fixture
def hangs_up():
    """SIGHUP as in a terminal; what it did before is restored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def raised_at(monkeypatch, step, *numbers):
    """Raises signals during a step of the next command."""
    make = running.ProgressLine
    raising = Do(lambda trainer: trainer.step == step and [signal.raise_signal(number) for number in numbers])

    class Line(make):
        def on_step(self, trainer):
            raising.on_step(trainer)

    monkeypatch.setattr(running, "ProgressLine", Line)


def test_a_closed_terminal_saves_and_ends(cli, tmp_path, quick, monkeypatch, hangs_up):
    raised_at(monkeypatch, 3, signal.SIGHUP)
    status, out, err = cli("train", "digits", *quick, "--out", tmp_path, "--name", "run")
    assert (status, err) == (129, "")
    assert "Interrupted and saved at step 3" in out
    assert checkpoint.newest(tmp_path / "run")[0]["step"] == 3
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_second_hang_up_does_not_end_at_once(cli, tmp_path, quick, monkeypatch, hangs_up):
    """The shell sends one, and the system another when the shell has ended."""
    monkeypatch.setattr(interrupt, "ECHO", -1.0)
    raised_at(monkeypatch, 3, signal.SIGHUP, signal.SIGHUP)
    assert cli("train", "digits", *quick, "--out", tmp_path, "--name", "run")[0] == 129
    assert checkpoint.newest(tmp_path / "run")[0]["step"] == 3


def test_under_nohup_it_is_ignored(cli, tmp_path, quick, monkeypatch, hangs_up):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raised_at(monkeypatch, 3, signal.SIGHUP)
    status, out, err = cli("train", "digits", *quick, "--out", tmp_path, "--name", "run")
    assert (status, err) == (0, "")
    assert "Done at step 4" in out
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with Interrupt() as asked:
        assert hang_up() == ()
        signal.raise_signal(signal.SIGHUP)
        assert asked.asked == 0


def test_a_hang_up_before_there_is_a_run_leaves_nothing(tmp_path, quick, monkeypatch, hangs_up, capsys):
    monkeypatch.setattr(running, "_introduce", lambda *_: signal.raise_signal(signal.SIGHUP))
    assert main(["train", "digits", *quick, "--out", str(tmp_path / "runs")]) == 129
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "command", [["--version"], ["ls"], ["sample", "RUN", "-n", "2"]], ids=lambda command: command[0]
)
def test_other_commands_without_stdout(trained, monkeypatch, capsys, command):
    run = trained()
    monkeypatch.chdir(run.parent.parent)
    command = [str(run) if part == "RUN" else part for part in command]
    for name in ("stdout", "stderr"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, name, None)
            assert main(command) == 0
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Breaking(errno.ENOSPC, 0))
        assert main(command) == 1
    assert capsys.readouterr().err == "gpgan: stdout cannot be written (No space left on device)\n"


def test_what_is_still_buffered_at_the_end_of_a_command(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["--version"]) == 1
    assert "stdout cannot be written" in capsys.readouterr().err
