"""What people read: names from outside, counts, times, rates, reasons, and the nearest known name."""

import os

import pytest

from gpgan.util.errors import first_line, reason
from gpgan.util.nearest import nearest
from gpgan.util.words import counted, duration, rate, shown


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("photos/Straße 日本 🙂.png", "photos/Straße 日本 🙂.png"),
        ("a\x1b[2Jb\x07", r"a\x1b[2Jb\x07"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("user\u202egnp.exe", r"user\u202egnp.exe"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_names(name, seen):
    assert shown(name) == seen
    assert shown(name).isprintable()
    assert shown(name).encode()


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (86400 * 3, "3 d"), (-5, "0 s")]
)
def test_durations(seconds, told):
    assert duration(seconds) == told


def test_counts_and_rates():
    assert [counted(n, "process", "processes") for n in (0, 1, 2)] == ["0 processes", "1 process", "2 processes"]
    assert [counted(n, "thread") for n in (1, 8)] == ["1 thread", "8 threads"]
    assert [rate(x) for x in (0, 0.04, 0.5, 1, 12.34)] == [
        "- steps/s", "25.0 s/step", "2.0 s/step", "1.0 steps/s", "12.3 steps/s",
    ]  # fmt: skip
    assert rate(0.25, "image") == "4.0 s/image"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("the first line\nthe second"), "the first line"),
        (KeyError(259), "KeyError: 259"),
        (KeyError("name"), "KeyError: 'name'"),
        (IndexError(""), "IndexError"),
        (OSError(5), "OSError: 5"),
        (OSError(28, "No space left on device", "a.png"), "No space left on device"),
        (ZeroDivisionError("\n\n"), "ZeroDivisionError"),
        (ValueError("do \x1b[1mthose steps\x1b[0m \x1b[31;1monly\x1b[m"), "do those steps only"),
    ],
)
def test_reasons_are_words(error, reason):
    assert first_line(error) == reason


def test_whole_reasons():
    assert reason(ValueError("x is 3;\nexpected 4")) == "x is 3;\nexpected 4"
    assert reason(OSError(2, "No such file or directory", "a/b.png")) == "a/b.png: No such file or directory"
    assert reason(OSError(28, "No space left on device")) == "No space left on device"
    assert reason(OSError(5)) == "OSError: 5"
    assert reason(ValueError(7)) == "ValueError: 7"


FLAGS = [
    "--steps", "--batch", "--impl", "--precision", "--n-critic", "--optimizer.kind", "--optimizer.lr", "--network.kind",
    "--network.depth", "--penalty.weight",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("--lr", "--optimizer.lr"),
        ("--network.lr", "--optimizer.lr"),
        ("--kind", "--optimizer.kind or --network.kind"),
        ("--N_Critic", "--n-critic"),
        ("--stesp", "--steps"),
        ("--penatly.weight", "--penalty.weight"),
        ("--network.depht", "--network.depth"),
        ("--network.latent", ""),
        ("--version", ""),
        ("--gp", ""),
        ("--epochs", ""),
    ],
)
def test_nearest(name, near):
    assert nearest(name, FLAGS) == (f"; did you mean {near}?" if near else "")


def test_nearest_of_none():
    assert nearest("a", []) == ""
