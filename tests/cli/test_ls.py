"""gpgan ls: the runs, their progress and their results."""

import json
import os
import time
from pathlib import Path

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


def test_whatever_a_run_holds_each_has_its_line(cli, trained, monkeypatch):
    run = trained()
    about = json.loads((run / "config.json").read_text())
    about["config"]["data"] = "da\x1b[31mta\n"
    (run / "config.json").write_text(json.dumps(about))
    odd = {
        "nested": "[" * 100_000,
        "list": json.dumps({"config": []}),
        "steps": json.dumps({"config": {"data": "x", "steps": [1]}}),
        "infinite": '{"config": {"data": "x", "steps": 1e999}}',
        "columns": json.dumps({"config": {"data": "x", "steps": 1}, "numbers": {"a": {"column": [1]}}}),
        "data": json.dumps({"config": {"data": 5, "steps": 1}}),
        os.fsdecode(b"caf\xe9"): "{",
        "clear\x1b[2J\n": "{",
    }
    for name, text in odd.items():
        (run.parent / name).mkdir()
        (run.parent / name / "config.json").write_text(text)
    (run.parent / "large").mkdir()
    (run.parent / "large" / "config.json").write_bytes((run / "config.json").read_bytes())
    (run.parent / "large" / "stats.jsonl").write_text(f'{{"step": 3, "estimate": 1{"0" * 400}}}\n{"[" * 5000}')
    (run.parent / "pipe").mkdir()
    (run.parent / "pipe" / "config.json").write_bytes((run / "config.json").read_bytes())
    os.mkfifo(run.parent / "pipe" / "stats.jsonl")
    (run.parent / "closed").mkdir()
    stat = Path.stat

    def guarded(path, **options):
        if path.parent.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", guarded)
    status, out, err = cli("ls", run.parent)
    assert (status, err) == (0, "")
    assert out.isascii()
    assert "\x1b" not in out
    rows = {row[0]: row[1:] for row in table(out)[1:]}
    broken = {"closed", r"caf\xe9", r"clear\x1b[2J\n", "nested", "list", "steps", "infinite", "data"}
    assert set(rows) == broken | {"columns", "digits", "large", "pipe"}
    for name in broken:
        assert rows[name] == ["config.json cannot be read"], name
    assert rows["digits"][0] == r"da\x1b[31mta\n"
    assert rows["columns"][:2] == ["x", "0/1"]
    assert rows["large"][1] == "3/4"
    assert rows["large"][3] == "-"
    assert rows["pipe"][1] == "0/4"


def test_a_resumed_run_is_where_it_was_resumed_until_its_first_tick(cli, trained):
    run = trained()
    (run / "stats.jsonl").write_text("")
    with (run / "log.txt").open("a") as log:
        log.write("2026-01-01 00:00:00  resumed at step 3, to step 4\n")
    assert table(cli("ls", run.parent)[1])[1][2] == "3/4"
