"""The command line from outside: what it prints, where, and with which exit status."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

import gpgan
from gpgan import ops
from gpgan.cli import main
from gpgan.cli.progress import ProgressLine
from gpgan.training.stats import Stats

QUICK = [
    "--steps",
    "3",
    "--batch",
    "8",
    "--n-critic",
    "1",
    "--network.width",
    "4",
    "--network.latent",
    "4",
    "--tick",
    "1",
]


def python(*arguments, **options):
    return [sys.executable, *arguments], {"cwd": os.path.dirname(os.path.dirname(gpgan.__file__)), **options}


def test_train(tmp_path, capsys):
    assert (
        main(
            [
                "train",
                "digits",
                *QUICK,
                "--out",
                str(tmp_path),
                "--name",
                "mine",
                "--seed",
                "5",
                "--penalty.weight",
                "2",
            ]
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert err == ""
    assert f"run: {tmp_path}/mine" in out
    assert "step 3/3" in out
    assert f"The run lies in {tmp_path}/mine; look at" in out
    config = json.loads((tmp_path / "mine" / "config.json").read_text())["config"]
    assert (config["seed"], config["penalty"]["weight"], config["network"]["width"]) == (5, 2.0, 4)
    # Neither given nor a default of the class: the preset of the data.
    assert config["threads"] == 1


def test_flags_may_stand_before_the_data(tmp_path):
    assert main(["train", *QUICK, "--out", str(tmp_path), "ring"]) == 0
    assert json.loads((tmp_path / "00000-ring" / "config.json").read_text())["config"]["penalty"]["weight"] == 0.1


def test_npy_path(tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (12, 9, 9), dtype=np.uint8))
    assert main(["train", str(tmp_path / "images.npy"), *QUICK, "--out", str(tmp_path / "[runs]")]) == 0
    data = json.loads((tmp_path / "[runs]" / "00000-images" / "config.json").read_text())["data"]
    assert data == {"samples": 12, "shape": [1, 9, 9], "scale": 127.5, "offset": 127.5}


BAD = {
    "unknown command": (["trian"], "there is no command 'trian'; wanted train or doctor; did you mean train?"),
    "no data": (["train"], "DATA"),
    "unknown data": (["train", "digit"], "did you mean digits?"),
    "missing file": (["train", "{tmp}/none.npy"], "does not exist; wanted a .npy file"),
    "empty file": (["train", "{tmp}/empty.npy"], "is empty"),
    "wrong shape": (["train", "{tmp}/shape.npy"], "shape (4,); wanted vectors [N, D]"),
    "NaN": (["train", "{tmp}/nan.npy"], "NaN or infinite values"),
    "pickled": (["train", "{tmp}/pickled.npy"], "cannot be read"),
    "file as out": (["train", "digits", "--out", "{tmp}/empty.npy"], "is no folder"),
    "negative weight": (
        ["train", "digits", "--penalty.weight", "-1"],
        "penalty.weight is -1.0; wanted a finite number, 0 or above",
    ),
    "zero steps": (["train", "digits", "--steps", "0"], "steps is 0; wanted"),
    "steps beyond any integer": (["train", "digits", "--steps", "9" * 400], "wanted a whole number from 1 to"),
    "threads beyond the processors": (["train", "digits", "--threads", "100000"], "threads is 100000; wanted"),
    "latents beyond memory": (["train", "digits", "--network.latent", "9" * 14], "network.latent is 999"),
    "device meta": (["train", "digits", "--device", "meta"], "device is 'meta'"),
    "long name": (["train", "digits", "--name", "x" * 300], "wanted the name of one folder"),
    "name of two lines": (["train", "digits", "--name", "a\nb"], "wanted the name of one folder"),
    "range beyond float64": (["train", "{tmp}/range.npy"], "cannot be scaled"),
    "broken archive": (["train", "{tmp}/archive.npy"], "cannot be read"),
    "header beyond memory": (["train", "{tmp}/header.npy"], "cannot be read"),
    "steps no number": (["train", "digits", "--steps", "many"], "--steps"),
    "steps without value": (["train", "digits", "--steps"], "steps"),
    "large batch": (["train", "digits", "--batch", "5000"], "digits has 1797 samples; wanted a batch from 2 to 1797"),
    "unknown flag": (["train", "digits", "--stesp", "3"], "did you mean --steps?"),
    "unknown choice": (["train", "digits", "--impl", "fast"], "'native'"),
    "unknown device": (["train", "digits", "--device", "abacus"], "device is 'abacus'"),
    "name with slash": (["train", "digits", "--name", "a/b"], "name is 'a/b'"),
    "two data sets": (["train", "digits", "ring"], "ring"),
    "convolution of vectors": (["train", "ring", "--network.kind", "conv"], "network.kind is 'conv'"),
    "doctor with arguments": (["doctor", "digits"], "doctor got 'digits'; wanted no arguments"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "shape.npy", np.zeros(4))
    np.save(tmp_path / "nan.npy", np.array([[1.0], [np.nan]]))
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "range.npy", np.array([[np.longdouble("1e4000")], [0]], dtype=np.longdouble))
    (tmp_path / "archive.npy").write_bytes(b"PK\x03\x04 no archive")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 2)}\n"
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    before = sorted(tmp_path.iterdir())
    arguments, message = BAD[case]
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("gpgan: ")
    assert message in err
    assert sorted(tmp_path.iterdir()) == before


def test_one_line_also_where_tyro_draws_its_frame():
    command, options = python(
        "-m", "gpgan", "train", "digits", "--stesp", "3", env={**os.environ, "PYTHONIOENCODING": "utf-8"}
    )
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", **options)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "gpgan: Unrecognized options: --stesp, 3; did you mean --steps? (gpgan train --help lists the options)\n"
    )


def test_existing_name(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    assert main(["train", "digits", "--out", str(tmp_path), "--name", "mine"]) == 2
    assert "mine exists already" in capsys.readouterr().err
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_run_that_cannot_write_is_one_line(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpgan.training.recorder.Recorder.tick", full)
    assert main(["train", "digits", *QUICK, "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"No space left on device. What was recorded lies in {tmp_path}" in err


def test_divergence_is_one_line(tmp_path, capsys):
    assert main(["train", "digits", *QUICK, "--out", str(tmp_path), "--optimizer.lr", "1e30"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "training diverged" in err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["train", "--help"], ["doctor", "--help"]], ids=" ".join)
def test_help(capsys, arguments):
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    if "doctor" not in arguments:
        assert out.count("  gpgan train ") >= 3
        assert out.index("Examples") < out.index("ommands" if "train" not in arguments else "--steps")


def test_help_shows_the_defaults_for_the_data(capsys):
    weights = {}
    for data in ("digits", "ring"):
        assert main(["train", "--help", data]) == 0
        weights[data] = re.search(r"lambda of the paper \(default: (\S+)\)", capsys.readouterr().out)[1]
    assert weights == {"digits": "10.0", "ring": "0.1"}


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("torch", "threads", "native library", "CUDA kernels", "digits", "ring", "PATH.npy"):
        assert word in out
    assert ("loaded" in out) == ops.native_available("cpu")


def test_doctor_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr(ops, "why_not_native", lambda device: "it was not built; run make")
    monkeypatch.setattr(ops, "cuda_architectures", lambda: ("9.0", "12.0+PTX"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in (
        "it was not built; run make",
        "9.0, 12.0+PTX",
        "pip install scikit-learn",
        "pip install tyro rich matplotlib scikit-learn",
    ):
        assert word in out


@pytest.mark.parametrize("package", ["tyro", "rich", "matplotlib", "sklearn"])
def test_missing_package_is_named(tmp_path, package):
    code = f"import sys; sys.modules[{package!r}] = None; from gpgan.cli import main; sys.exit(main(['train', 'digits', '--out', {str(tmp_path / 'runs')!r}]))"
    command, options = python("-c", code)
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == f"gpgan: gpgan train needs {package}, which is not installed: pip install tyro rich matplotlib scikit-learn\n"
    )
    assert not (tmp_path / "runs").exists()


def test_import_needs_no_extra_package():
    code = "import sys, gpgan, gpgan.cli; sys.exit(any(name in sys.modules for name in ('tyro', 'rich', 'matplotlib', 'sklearn')))"
    command, options = python("-c", code)
    assert subprocess.run(command, **options).returncode == 0


def test_control_c_saves_and_exits_130(tmp_path):
    command, options = python("-m", "gpgan", "train", "ring", "--out", str(tmp_path), "--name", "mine", "--tick", "1")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    deadline = time.monotonic() + 60
    while not (tmp_path / "mine" / "stats.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "Interrupted and saved" in out
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert {"samples.png", "generator.pt", "stats.jsonl", "config.json"} <= names
    assert not any(name.endswith(".partial") for name in names)


STATS = Stats(10, 80, 1.0, -0.5, 0.7512, 0.2, 0.9, 1.1, 0.3)


def test_live_line():
    screen = io.StringIO()
    with ProgressLine(Console(file=screen, force_terminal=True, width=100), 20) as progress:
        progress(9, None)
        progress(10, STATS)
    for word in ("10/20", "steps/s", "W 0.751", "penalty 0.200", "|grad| 0.900"):
        assert word in screen.getvalue()


def test_log_lines_are_seconds_apart(monkeypatch):
    log = io.StringIO()
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with ProgressLine(Console(file=log, width=200), 40) as progress:
        for step in range(1, 41):
            now[0] += 1
            progress(step, STATS if step % 2 == 0 else None)
    lines = log.getvalue().splitlines()
    assert lines[0] == "step 6/40  1.0 steps/s  34 s left  W 0.751  penalty 0.200  |grad| 0.900"
    assert [line.split()[1] for line in lines] == [f"{step}/40" for step in (6, 12, 18, 24, 30, 36, 40)]
