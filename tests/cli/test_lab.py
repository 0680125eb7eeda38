"""gpgan lab: what it writes and prints, and what it refuses before anything is computed."""

import json
import struct
import subprocess
import sys
import types

import pytest

from gpgan import labs
from gpgan.cli import lab
from gpgan.labs import bilinear
from gpgan.labs.lab import Findings


@pytest.fixture
def untouched(monkeypatch):
    """Fails if a lab starts."""

    def run(progress):
        raise AssertionError("a lab was run")

    monkeypatch.setattr(bilinear, "run", run)


def test_a_lab_writes_its_picture_and_its_numbers(cli, tmp_path):
    out = tmp_path / "new" / "folder"
    status, told, err = cli("lab", "bilinear", "--out", out)
    assert (status, err) == (0, "")
    found = bilinear.run(lambda share, what: None)
    assert told.splitlines() == [
        f"bilinear: {bilinear.TITLE}",
        *(f"  {line}" for line in found.see),
        f"  {out}/bilinear.png",
        f"  {out}/bilinear.json",
    ]
    numbers = json.loads((out / "bilinear.json").read_text())
    about = numbers.pop("about")
    assert numbers == {"lab": "bilinear", **found.numbers}
    assert about["title"] == bilinear.TITLE
    assert set(about["versions"]) == {"gpgan", "torch", "numpy", "python"}
    assert 0 < about["seconds"] < 60
    picture = (out / "bilinear.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    assert (width, height) == tuple(round(inch * lab.DPI) for inch in found.figure.get_size_inches())
    assert sorted(path.name for path in out.iterdir()) == ["bilinear.json", "bilinear.png"]


def test_without_a_name_it_lists_them(cli, untouched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["--help"]):
        status, told, err = cli("lab", *arguments)
        assert (status, err) == (0, "")
        for name, what in labs.LABS.items():
            assert f"  {name}" in told
            assert what in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bilinar"], "lab is 'bilinar'; expected divergences, saturation, bilinear,"),
        (["bilinar"], "did you mean bilinear?"),
        (["bilinear", "--al"], "did you mean --all?"),
        (["bilinear", "--all"], "NAME is 'bilinear' and --all is given; expected one of the two"),
        (["bilinear", "saturation"], "saturation"),
        (["bilinear", "--out", "file"], "--out is file, which cannot be written to"),
        (["bilinear", "--out", "file/below"], "expected a folder that can be written to"),
    ],
)
def test_bad_input_is_one_line(cli, untouched, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    status, told, err = cli("lab", *arguments)
    assert (status, told) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_folder_that_is_read_only(cli, untouched, tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(lab.tempfile, "TemporaryFile", refuse)  # to root no folder is read-only
    status, told, err = cli("lab", "bilinear", "--out", tmp_path)
    assert (status, told) == (2, "")
    assert err == (
        f"gpgan: --out is {tmp_path}, which cannot be written to (Permission denied); expected a folder that can be "
        "written to\n"
    )


def test_all_of_them_and_the_page(cli, tmp_path, monkeypatch):
    """With stand-ins for the slow labs and the page; checks what is called with which arguments."""
    ran, written = [], {}
    found = bilinear.run(lambda share, what: None)

    def load(name):
        def run(progress):
            progress(0.5, "working")
            ran.append(name)
            return Findings({"number": float(len(ran))}, found.figure, found.see)

        return types.SimpleNamespace(TITLE=name.upper(), run=run)

    def write_page(out, results):
        written.update({"out": out, "results": results})
        return out / "labs.html"

    monkeypatch.setattr(lab, "load", load)
    page = types.ModuleType("gpgan.labs.page")
    page.write_page = write_page
    monkeypatch.setitem(sys.modules, "gpgan.labs.page", page)
    status, told, err = cli("lab", "--all", "--out", tmp_path)
    assert (status, err) == (0, "")
    assert ran == list(labs.LABS)
    assert written["out"] == tmp_path
    assert list(written["results"]) == list(labs.LABS)
    assert [findings.numbers["number"] for findings in written["results"].values()] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {path.name for path in tmp_path.iterdir()} == {f"{n}.{e}" for n in labs.LABS for e in ("png", "json")}
    assert told.endswith(f"all on one page: {tmp_path}/labs.html\n")


def test_a_disk_that_is_full(cli, tmp_path, monkeypatch):
    (tmp_path / "bilinear.json").write_text("before")

    def write_json(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(lab, "write_json", write_json)
    status, _, err = cli("lab", "bilinear", "--out", tmp_path)
    assert status == 1
    assert "No space left on device" in err
    assert err.count("\n") == 1
    assert (tmp_path / "bilinear.json").read_text() == "before"


# Ctrl-C while the lab computes.
SCRIPT = """
import os, signal, sys
from gpgan import cli
from gpgan.labs import bilinear
whole = bilinear.run
def run(progress):
    findings = whole(progress)
    os.kill(os.getpid(), signal.SIGINT)
    return findings
bilinear.run = run
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(cli.main(["lab", "bilinear", "--out", sys.argv[1]]))
"""


def test_ctrl_c_leaves_what_was_there(tmp_path):
    (tmp_path / "bilinear.json").write_text("before")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["bilinear.json"]
    assert (tmp_path / "bilinear.json").read_text() == "before"


def test_labs_are_listed_without_matplotlib():
    script = "import sys; sys.modules['matplotlib'] = None; import gpgan.labs; print(*gpgan.labs.LABS)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == list(labs.LABS), done.stderr


def test_progress_is_shown_on_a_terminal_only(monkeypatch, capsys):
    with lab._progress("bilinear") as progress:
        progress(0.5, "playing")
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then treats the output as a terminal
    monkeypatch.setenv("TERM", "xterm")
    with lab._progress("bilinear") as progress:
        progress(0.5, "playing")
    assert "bilinear: playing" in capsys.readouterr().out


def test_a_lab_that_fails_does_not_end_the_others(cli, tmp_path, monkeypatch):
    broken = types.SimpleNamespace(TITLE="Broken", CAPTION="", run=lambda progress: float("nan").as_integer_ratio())
    chosen = {"density-ratio": broken, "bilinear": bilinear}
    monkeypatch.setattr(lab, "LABS", dict.fromkeys(chosen, "what it shows"))
    monkeypatch.setattr(lab, "load", lambda name: chosen[name])
    status, told, err = cli("lab", "--all", "--out", tmp_path)
    assert status == 1
    assert err == (
        "gpgan: the lab density-ratio failed (cannot convert NaN to integer ratio); the other labs are run\n"
    )
    assert f"bilinear: {bilinear.TITLE}" in told
    assert f"all on one page: {tmp_path}/labs.html" in told
    assert "Broken" not in (tmp_path / "labs.html").read_text("utf-8")
