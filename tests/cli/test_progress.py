"""The progress lines of a run and of reading data."""

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from gpgan.cli.progress import ProgressLine, loading
from gpgan.records.stats import Stats
from gpgan.tasks.adversarial import describe_critic


def stats(step, **changes):
    numbers = {
        "critic_loss": -0.5, "generator_loss": 0.3, "estimate": 0.7512, "held_out": 0.61,
        "penalty": 0.2, "norm_mean": 0.9, "norm_std": 0.25, "norm_max": 1.1, **changes,
    }  # fmt: skip
    return Stats(step=step, images=80, seconds=1.0, images_per_second=80.0, memory=300.0, numbers=numbers)


def trainer(step=0, steps=40, minutes=0.0):
    task = SimpleNamespace(describe=lambda numbers: describe_critic(numbers, "W1"))
    return SimpleNamespace(step=step, task=task, config=SimpleNamespace(steps=steps, minutes=minutes))


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_live_line():
    screen = io.StringIO()
    progress, run = ProgressLine(Console(file=screen, force_terminal=True, width=140)), trainer(steps=20)
    progress.on_begin(run)
    for step in (9, 10):
        run.step = step
        progress.on_step(run)
    progress.on_tick(run, stats(10))
    progress.on_end(run, None)
    for words in ("10/20", "steps/s", "W1 0.751 (held out 0.610)", "penalty 0.200", "|grad| 0.900 +- 0.250"):
        assert words in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
    progress.stop()


def test_live_line_begins_where_a_run_was_resumed():
    screen = io.StringIO()
    progress, run = ProgressLine(Console(file=screen, force_terminal=True, width=140)), trainer(step=12, steps=20)
    progress.on_begin(run)
    progress.stop()
    assert "12/20" in screen.getvalue()
    assert " 0/20" not in screen.getvalue()


def lines_of(run, clock, last, **changes):
    log = io.StringIO()
    progress = ProgressLine(Console(file=log, width=200))
    progress.on_begin(run)
    for step in range(run.step + 1, last + 1):
        run.step = step
        clock[0] += 1
        progress.on_step(run)
        if step % 2 == 0:
            progress.on_tick(run, stats(step, **changes))
    progress.on_end(run, None)
    return log.getvalue().splitlines()


def test_log_lines_are_seconds_apart(clock):
    lines = lines_of(trainer(), clock, 40)
    assert lines[0] == (
        "step 6/40  1.0 steps/s  34 s left  W1 0.751 (held out 0.610)  penalty 0.200  |grad| 0.900 +- 0.250"
    )
    assert [line.split()[1] for line in lines] == [f"{step}/40" for step in (6, 12, 18, 24, 30, 36, 40)]


def test_what_is_not_known_is_left_out(clock):
    line = lines_of(trainer(), clock, 6, held_out=None, penalty=None, norm_mean=None, norm_std=None)[0]
    assert line == "step 6/40  1.0 steps/s  34 s left  W1 0.751"


def test_the_time_left_counts_from_where_a_run_was_resumed(clock):
    assert lines_of(trainer(step=30), clock, 36)[0].startswith("step 36/40  1.0 steps/s  4 s left")


def test_the_time_left_ends_with_the_minutes(clock):
    assert lines_of(trainer(steps=1000, minutes=0.5), clock, 6)[0].startswith("step 6/1000  1.0 steps/s  24 s left")


def test_slow_runs_tell_seconds_per_step_and_long_ones_hours(clock):
    log = io.StringIO()
    progress, run = ProgressLine(Console(file=log, width=200)), trainer(steps=1000)
    progress.on_begin(run)
    clock[0] += 40
    run.step = 2
    progress.on_tick(run, stats(2))
    assert log.getvalue().startswith("step 2/1000  20.0 s/step  6 h left  W1")


def test_reading_is_told_after_a_while(clock, capsys):
    with loading() as tell:
        for done in range(1, 11):
            clock[0] += 1.5
            tell(done, 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["reading data: 4/10", "reading data: 8/10", "reading data: 10/10"]


def test_quick_reading_says_nothing(clock, capsys):
    with loading() as tell:
        for done in range(1, 11):
            clock[0] += 0.1
            tell(done, 10)
    assert capsys.readouterr().err == ""
