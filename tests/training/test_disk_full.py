"""A full disk and a read-only disk: one line that names the last checkpoint, and a run that can be resumed."""

import errno
import os
import subprocess

import pytest
from same_runs import assert_same, draw_bits, files_of, small

from gpgan.cli import main
from gpgan.records import checkpoint
from gpgan.training.trainer import Trainer

SETTINGS = {"checkpoint": 5, "snapshot": 1000, "network.width": 64}


def mount(*arguments):
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "gpgan-test", folder)
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk, left):
    """Leaves so many bytes free, rounded down to pages."""
    system = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(max(0, system.f_bavail * system.f_frsize - left)))


@pytest.fixture
def run(disk, monkeypatch):
    """A run of ten steps on the disk."""
    draw_bits(monkeypatch)
    return Trainer(small(disk, "ring", steps=10, **SETTINGS)).fit().run


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """The run to step 20 without a full disk."""
    draw_bits(monkeypatch)
    return Trainer(small(tmp_path / "whole", "ring", steps=20, **SETTINGS)).fit().run


def sizes(run):
    return {path.name: path.stat().st_size for path in (run / "checkpoints").iterdir()}


# Free space as shares of a checkpoint: from torch's first write to its last, a different operation fails each time.
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_checkpoint_that_does_not_fit(disk, run, whole, capsys, share):
    before = sizes(run)
    assert len(set(before.values())) < len(before)  # best.pt costs nothing
    # In addition there are the new config.json, a page or two next to the old one, and the growth of the logs.
    fill(disk, int(before["latest.pt"] * share) + 2 * 4096)
    assert main(["resume", str(run), "--steps", "20"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "the checkpoint of step 15 cannot be written (No space left on device); that of step 10 is intact" in err
    assert sizes(run) == before
    state, path, problems = checkpoint.newest(run)
    assert (state["step"], path.name, problems) == (10, "latest.pt", [])
    (disk / "ballast").unlink()
    assert main(["resume", str(run), "--steps", "20"]) == 0
    assert_same(whole, run)


def test_the_library_s_error_is_the_system_s(disk, run):
    fill(disk, 5 * 4096)
    with pytest.raises(OSError, match="the checkpoint of step 15 cannot be written") as error:
        Trainer.resume(run, steps=20).fit()
    assert error.value.errno == errno.ENOSPC


@pytest.mark.parametrize("left", [0, 4096, 8192, 16384, 65536])
def test_whatever_does_not_fit_is_one_line(disk, run, whole, monkeypatch, capsys, left):
    """Statistics, log, pictures, curves and report, in turn."""
    monkeypatch.undo()
    fill(disk, left)
    assert main(["resume", str(run), "--steps", "20"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "No space left on device" in err
    assert checkpoint.newest(run)[2] == []
    (disk / "ballast").unlink()
    draw_bits(monkeypatch)
    assert main(["resume", str(run), "--steps", "20"]) == 0  # also if only the last files were missing
    assert_same(whole, run)


def test_a_run_for_which_there_is_no_room(disk, capsys):
    fill(disk, 4096)
    before = files_of(disk)
    assert main(["train", "ring", "--steps", "2", "--batch", "8", "--out", str(disk / "runs")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no run can be created in" in err
    assert "No space left on device" in err
    assert files_of(disk) == before


def test_where_nothing_may_be_written(disk, run, capsys):
    before = files_of(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert main(["train", "ring", "--steps", "2", "--out", str(disk)]) == 2
    assert f"{disk} is not writable; choose another --out" in capsys.readouterr().err
    assert main(["resume", str(run), "--steps", "20"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert str(run) in err
    assert files_of(disk) == before
