"""Runs that hold what gpgan does not write: pipes, nested JSON, huge pictures; and names that the terminal cannot show."""

import io
import os
import sys

import pytest
from PIL import Image

from gpgan.cli import main
from gpgan.records import checkpoint
from gpgan.records.report import write_report

PIPES = ("config.json", "stats.jsonl", f"{checkpoint.FOLDER}/{checkpoint.LATEST}", "reals.png", ".lock")


@pytest.mark.parametrize("name", PIPES)
@pytest.mark.parametrize("command", [["sample"], ["resume", "--steps", "5"]], ids=lambda command: command[0])
def test_a_pipe_is_refused_by_name(cli, trained, name, command):
    run = trained()
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    status, _, err = cli(command[0], run, *command[1:])
    assert (status, err.count("\n")) == (2, 1)
    assert f"{run / name} is not a regular file" in err


def test_the_report_leaves_out_what_it_cannot_read(trained, monkeypatch):
    run = trained()
    for name in ("config.json", "eval.json"):
        (run / name).write_text("[" * 100_000)
    with (run / "stats.jsonl").open("a") as file:
        file.write("[" * 5000 + "\n")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    Image.new("L", (8, 8)).save(run / "reals.png")
    write_report(run)


def test_a_terminal_without_the_letters_of_a_name_shows_escapes(trained, monkeypatch):
    run = trained()
    run.rename(run.with_name("\N{CJK UNIFIED IDEOGRAPH-732B}"))
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))
    assert main(["ls", str(run.parent)]) == 0
    sys.stdout.flush()
    assert b"\\u732b" in content.getvalue()
