"""Names of files, classes and runs that hold escape sequences, line ends, or bytes that are not text: shown, never obeyed."""

import io
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image

from gpgan.cli import main
from gpgan.records import checkpoint

EVIL = "a\x1b]0;owned\x07\x1b[2J\r\nb" + os.fsdecode(b"caf\xe9")


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for label in (f"cat {EVIL}", "dog"):
        folder = tmp_path / f"photos {EVIL}" / label
        folder.mkdir(parents=True)
        for number in range(12):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / f"bad {EVIL}.png").write_bytes(b"no image")
    return tmp_path / f"photos {EVIL}"


def plain(text):
    """Whether a text has no control character but line ends, nor a lone surrogate."""
    return bool(re.fullmatch(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]*", text))


def test_commands_show_them(cli, photos, quick, undrawn, tmp_path):
    out = tmp_path / f"runs {EVIL}"
    run = out / "mine"
    commands = [
        ["train", photos, *quick, "--conditional", "--out", out, "--name", "mine"],
        ["resume", run, "--steps", "6"],
        ["sample", run, "--out", out / "a.npy", "-n", "1"],
        ["eval", run, "-n", "4"],
        ["export", run],
        ["ls", out],
    ]
    told = []
    for command in commands:
        status, said, err = cli(*command)
        assert status == 0, err
        assert plain(said), said
        assert plain(err), err
        told.append(said)
    assert "\n1 sample at step 6: " in told[2]
    assert "classes in turn: cat " in told[2]
    log = (run / "log.txt").read_text("utf-8")
    assert plain(log), log
    # 1 line for the file that is not an image, whatever its name.
    assert log.count("skipped: ") == 1
    assert plain((run / "report.html").read_text("utf-8"))
    # Damaged checkpoints, whose paths are named.
    for path in (run / "checkpoints").glob("latest.pt"):
        path.write_bytes(b"damaged")
    status, said, err = cli("sample", run)
    assert status == 0
    assert "an older checkpoint is used" in err
    assert plain(err), err
    assert checkpoint.newest(run)[0]["step"] < 6


def test_errors_show_them(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{EVIL}.toml").write_text("steps = [")
    (tmp_path / f"{EVIL}.npy").write_bytes(b"no array")
    for command in (
        ["train", f"none {EVIL}"],
        ["train", f"{EVIL}.npy"],
        ["train", "digits", "--config", f"{EVIL}.toml"],
        ["train", "digits", "--name", EVIL],
        ["train", "digits", "--out", f"{EVIL}.npy"],
        ["train", "digits", f"--{EVIL}"],
        ["train", "digits", "--network.critic", f"{EVIL}:thing"],
        ["train", f"{EVIL}:thing"],
        ["resume", f"none {EVIL}"],
        ["sample", f"none {EVIL}"],
        ["ls", f"none {EVIL}"],
        ["lab", EVIL],
        [EVIL],
    ):
        status, said, err = cli(*command)
        assert (status, said, err.count("\n")) == (2, "", 1), command
        assert plain(err), err


def test_names_beyond_the_encoding_of_the_terminal(tmp_path, monkeypatch):
    (tmp_path / "é日").mkdir()
    (tmp_path / "é日" / "config.json").write_text("{")
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["ls", str(tmp_path)]) == 0
    screen.flush()
    assert rb"\xe9\u65e5   config.json cannot be read" in screen.buffer.getvalue()
