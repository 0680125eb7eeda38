"""gpgan ls: the runs, their progress and their results."""

import json
import os
import time

import pytest

from gpgan.cli.ls import last_line


def table(out):
    rows = [line.split("  ") for line in out.splitlines()]
    return [[cell.strip() for cell in row if cell.strip()] for row in rows]


def test_runs(cli, trained):
    run, conv = trained("digits"), trained("ring")
    hours = time.time() - 3 * 3600
    os.utime(run / "stats.jsonl", (hours, hours))
    status, out, err = cli("ls", run.parent)
    assert (status, err) == (0, "")
    head, *rows = table(out)
    assert head == ["run", "data", "step", "age", "estimate", "held out", "|grad|"]
    assert [row[:3] for row in rows] == [["digits", "digits", "4/4"], ["ring", "ring", "4/4"]]
    assert rows[0][3] == "3 h"
    assert rows[1][3].endswith((" s", " min"))
    for folder, row in zip((run, conv), rows, strict=True):
        last = json.loads((folder / "stats.jsonl").read_text().splitlines()[-1])
        assert row[4:] == [f"{last[name]:.3f}" for name in ("estimate", "held_out", "norm_mean")]


def test_the_folder_of_runs_is_the_default(cli, trained, monkeypatch):
    run = trained()
    monkeypatch.chdir(run.parent.parent)
    assert cli("ls") == cli("ls", "runs") == cli("ls", run.parent)


def test_runs_in_every_state(cli, trained):
    """Runs that have just begun, are damaged or have no numbers; and folders that are not runs."""
    run = trained()
    for name in ("begun", "broken", "torn", "odd", "unknown"):
        (run.parent / name).mkdir()
        if name != "broken":
            (run.parent / name / "config.json").write_bytes((run / "config.json").read_bytes())
    (run.parent / "broken" / "config.json").write_text("{")
    (run.parent / "torn" / "stats.jsonl").write_text('{"step": 3, "estimate": 1.5, "held_out": null}\n{"step": 4, "wa')
    (run.parent / "odd" / "stats.jsonl").write_bytes(b"\xff\n[1]\n\n")
    (run.parent / "unknown" / "config.json").write_text("[]")
    (run.parent / "no run").mkdir()
    (run.parent / "file").touch()
    status, out, err = cli("ls", run.parent)
    assert (status, err) == (0, "")
    rows = {row[0]: row[1:] for row in table(out)[1:]}
    assert set(rows) == {"digits", "begun", "broken", "torn", "odd", "unknown"}
    assert rows["begun"][:2] == ["digits", "0/4"]
    assert rows["begun"][3:] == ["-", "-", "-"]
    assert rows["torn"][1] == "3/4"
    assert rows["torn"][3:] == ["1.500", "-", "-"]
    assert rows["odd"][1] == "0/4"
    assert rows["broken"] == rows["unknown"] == ["config.json cannot be read"]


def test_a_run_that_is_being_made_is_not_listed(cli, trained):
    run = trained()
    run.rename(run.parent / ".run-abc.partial")
    assert "no runs in" in cli("ls", run.parent)[1]


def test_no_runs(cli, tmp_path):
    assert cli("ls", tmp_path) == (0, f"no runs in {tmp_path}\n", "")


def test_bad_input_is_one_line(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for arguments in ((), ("none",), ("file",)):
        status, out, err = cli("ls", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "is not a folder; expected a folder of runs" in err
    assert "unrecognized arguments: --al" in cli("ls", "--al")[2]


def test_only_the_end_of_long_statistics_is_read(tmp_path):
    path = tmp_path / "stats.jsonl"
    line = json.dumps({"step": 1, "filler": "x" * 3000})
    path.write_text("\n".join([line] * 20 + [json.dumps({"step": 99})]) + "\n")
    assert last_line(path) == {"step": 99}
    assert last_line(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (86400 * 3, "3 d"), (-5, "0 s")]
)
def test_ages(seconds, shown):
    from gpgan.cli.ls import _age

    assert _age(seconds) == shown
