"""gpgan resume: steps, devices and refusals. That resumed runs are identical is tested with the trainer."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from small_runs import last_json

from gpgan import ops
from gpgan.records import checkpoint

pytestmark = pytest.mark.usefixtures("undrawn")


def steps_of(run):
    return [json.loads(line)["step"] for line in (run / "stats.jsonl").read_text().splitlines()]


def content(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_steps_count_all_steps(cli, trained):
    run = trained()
    status, out, err = cli("resume", run, "--steps", 7, "--json")
    assert (status, err) == (0, "")
    assert f"resuming {run} at step 4" in out
    assert "Done at step 7" in out
    assert last_json(out) == {"run": str(run), "step": 7, "reason": "done"}
    assert (checkpoint.newest(run)[0]["step"], steps_of(run)) == (7, [2, 4, 6, 7])
    assert json.loads((run / "config.json").read_text())["config"]["steps"] == 7
    assert cli("resume", run, "--steps", 8)[0] == 0
    assert steps_of(run) == [2, 4, 6, 8]


def test_a_run_that_was_killed_goes_on_to_its_last_step(cli, trained):
    run = trained()
    (run / "checkpoints" / "latest.pt").unlink()  # as between two renames
    with (run / "stats.jsonl").open("a") as file:
        file.write('{"step": 5, "tor')
    status, out, err = cli("resume", run)
    assert (status, err) == (0, "")
    assert f"resuming {run} at step 2" in out
    assert steps_of(run) == [2, 4]


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(cli, trained, damage):
    run = trained()
    path = run / "checkpoints" / "latest.pt"
    whole = bytearray(path.read_bytes())
    if damage == "altered":  # more than the padding between two tensors, which is not used
        middle = len(whole) // 2
        whole[middle : middle + 256] = bytes(byte ^ 1 for byte in whole[middle : middle + 256])
    path.write_bytes(whole[: len(whole) if damage == "altered" else 1000])
    status, out, err = cli("resume", run)
    assert (status, err) == (0, "")
    assert f"{path} " in out
    assert "; an older checkpoint is used" in out
    assert f"resuming {run} at step 2" in out
    assert "an older checkpoint is used" in (run / "log.txt").read_text()
    assert checkpoint.newest(run)[0]["step"] == 4


def test_minutes(cli, trained):
    run = trained()
    status, out, _ = cli("resume", run, "--steps", 10**9, "--minutes", "0.005", "--json")
    told = last_json(out)
    assert (status, told["reason"]) == (0, "minutes")
    assert 4 < told["step"] < 10**9


def test_from_another_folder(cli, tmp_path, monkeypatch, quick):
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", np.random.default_rng(0).normal(size=(30, 2)))
    assert cli("train", "points.npy", *quick, "--name", "mine")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli("resume", "../runs/mine", "--steps", 5)[0] == 0


def test_a_run_may_be_moved(cli, trained):
    run = trained()
    moved = run.rename(run.with_name("moved & renamed"))
    assert cli("resume", moved, "--steps", 5)[0] == 0
    assert [path.name for path in moved.parent.iterdir()] == [moved.name]


def test_on_a_smaller_machine(cli, tmp_path, quick, monkeypatch):
    """A run with many threads and native operators resumes with few threads and without those operators."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert cli("train", "digits", *quick, "--threads", 48, "--out", tmp_path, "--name", "mine")[0] == 0
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(ops, "why_not_native", lambda device: "it was not built")
    status, out, err = cli("resume", tmp_path / "mine", "--steps", 5)
    assert (status, err) == (0, "")
    assert "penalty: reference operators" in out
    assert cli("sample", tmp_path / "mine", "--out", tmp_path / "a.npy")[0] == 0


BAD = {
    "nothing left": (
        ["--steps", "4"],
        "steps is 4 and {run} is already at step 4; expected more, counted from the run's start",
    ),
    "nothing left as started": ([], "steps is 4 and {run} is already at step 4"),
    "no number": (["--steps", "many"], "--steps is 'many'; expected a whole number"),
    "negative": (["--steps", "-1"], "steps is -1; expected a whole number from 1 to"),
    "minutes no number": (["--steps", "9", "--minutes", "nan"], "minutes is nan; expected a finite number"),
    "device": (["--steps", "9", "--device", "abacus"], "device is 'abacus', which this torch cannot use"),
    "unknown flag": (["--stesp", "9"], "did you mean --steps? (gpgan resume --help lists the options)"),
    "flag of train": (["--seed", "9"], "unrecognized arguments: --seed 9"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_loses_nothing(cli, trained, case):
    run = trained()
    before = content(run)
    arguments, message = BAD[case]
    status, out, err = cli("resume", run, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message.format(run=run) in err
    assert content(run) == before


def test_no_run(cli, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        status, out, err = cli("resume", path)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"{path} has no checkpoint; expected a run's folder" in err
    assert "RUN is missing; expected a run's folder: gpgan ls lists them" in cli("resume")[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_no_checkpoint_that_is_whole(cli, trained):
    run = trained()
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"no checkpoint")
    status, out, err = cli("resume", run, "--steps", 9)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "has no intact checkpoint" in err


@pytest.mark.parametrize("change", ["one value", "one sample more", "gone"])
def test_data_that_changed(cli, tmp_path, quick, change):
    path = tmp_path / "points.npy"
    points = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    np.save(path, points)
    assert cli("train", path, *quick, "--out", tmp_path, "--name", "mine")[0] == 0
    before = content(tmp_path / "mine")
    if change == "one value":
        points[17, 1] = np.nextafter(points[17, 1], np.float32(9))
        np.save(path, points)
    elif change == "one sample more":
        np.save(path, np.concatenate([points, points[:1]]))
    else:
        path.unlink()
    status, out, err = cli("resume", tmp_path / "mine", "--steps", 9)
    assert (status, out, err.count("\n")) == (2, "", 1)
    wanted = (
        "does not exist"
        if change == "gone"
        else f"the data of {tmp_path}/mine changed since it was saved: {path} has the hash"
    )
    assert wanted in err
    assert content(tmp_path / "mine") == before
    np.save(path, np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32))
    assert cli("resume", tmp_path / "mine", "--steps", 5)[0] == 0
    assert Path(tmp_path / "mine" / "checkpoints" / "latest.pt").exists()
