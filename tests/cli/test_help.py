"""Help texts: their content, their size, and that their examples work."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpgan
from gpgan.cli import COMMANDS
from gpgan.data import fashion
from gpgan.settings.config import options
from gpgan.tasks.generation.config import Config


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]], ids=" ".join)
def test_overview(cli, arguments):
    status, out, err = cli(*arguments)
    assert (status, err) == (0, "")
    assert out.count("\n  gpgan ") >= 3
    assert out.index("Examples:") < out.index("Commands:")
    for command, what in COMMANDS.items():
        assert re.search(rf"^  {command} +{re.escape(what)}$", out, re.MULTILINE)
    assert "Exit status: 0 done, 1 failed, 2 bad input, 130" in out


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command(cli, command, flag):
    status, out, err = cli(command, flag)
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: gpgan {command}")
    if command != "doctor":
        assert out.count(f"  gpgan {command}") >= 2


@pytest.mark.parametrize("columns", ["", "abc", "40", "80", "300", None])
def test_train_fits_two_screens(cli, monkeypatch, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    status, out, err = cli("train", "--help")
    assert (status, err) == (0, "")
    if columns in ("300", None):
        lines = out.splitlines()
        assert len(lines) <= 74
        assert max(map(len, lines)) <= 100


def test_train_starts_with_three_examples(cli):
    lines = cli("train", "--help")[1].splitlines()
    assert lines[0].startswith("usage: gpgan train DATA")
    assert lines[1:3] == ["", "Examples:"]
    assert all(line.startswith("  gpgan train ") for line in lines[3:6])


def test_every_setting_has_a_flag_and_a_line(cli):
    out = cli("train", "--help")[1]
    names = [name.removesuffix(".name") for name, _, _ in options(Config) if name != "data"]
    for name in [*names, "config", "dry-run", "json", "help"]:
        assert re.search(rf"^  (-h, )?--{re.escape(name.replace('_', '-'))}\b", out, re.MULTILINE), name


def test_the_defaults_are_those_for_the_data(cli):
    weights = {}
    for data in ("digits", "ring"):
        out = cli("train", "--help", data)[1]
        assert f"The defaults below are those for {data}." in " ".join(out.split())
        weights[data] = re.search(r"--penalty.weight .*\((\S+)\)\n", out)[1]
    assert weights == {"digits": "10", "ring": "0.1"}
    assert "those for images." in cli("train", "--help")[1]


def test_the_defaults_are_those_with_a_preset_and_a_file(cli, tmp_path):
    (tmp_path / "a.toml").write_text("penalty.weight = 7")
    out = cli("train", "--help", "digits", "--preset", "wgan-gp", "--config", tmp_path / "a.toml")[1]
    assert "0: no penalty (7)" in out
    assert re.search(r"critic steps per generator step \(5\)", out)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with small versions of the data that the examples use."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path


def test_the_examples_of_train_work(cli, data):
    examples = [line.split("    then: ")[0] for line in cli("train", "--help")[1].splitlines()[3:6]]
    wanted = [("minutes", 20.0), ("precision", "bf16"), ("preset", "wgan-gp-toy")]
    for example, (name, value) in zip(examples, wanted, strict=True):
        arguments = shlex.split(example)[1:]
        if "fashion" in arguments and not fashion.FOLDER.exists():
            arguments[arguments.index("fashion")] = "digits"
        status, out, err = cli(*arguments, *["--dry-run"] * ("--dry-run" not in arguments))
        assert (status, err) == (0, ""), example
        assert json.loads(out)[name] == value
    assert not (data / "runs").exists()


@pytest.mark.parametrize("command", ["resume", "sample", "eval", "export", "ls"])
def test_the_examples_of_the_others_are_understood(cli, tmp_path, monkeypatch, command):
    """The only error is that there is no such run."""
    monkeypatch.chdir(tmp_path)
    pages = cli(command, "--help")[1], cli("--help")[1], cli("train", "--help")[1]
    lines = {re.split(r"\s{2,}", line)[0] for line in re.findall(rf"gpgan {command}\b.*", "\n".join(pages))}
    lines = {line for line in lines if "COMMAND" not in line and "[" not in line and "--real" not in line}
    assert lines
    for line in lines:
        known = "gpgan sample runs/clothes -n 1000 --seed 7 --out x.npy"
        line = known if line.startswith(known) else line
        status, out, err = cli(*shlex.split(line)[1:])
        assert (status, out) == (2, "")
        assert "has no checkpoint" in err or (command == "ls" and "is not a folder" in err), (line, err)


def python(code):
    root = Path(gpgan.__file__).parent.parent
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)


MISSING = """
import sys
from gpgan.cli import EXTRA, main
assert main([]) == 0
assert not set(EXTRA) & set(sys.modules), "importing gpgan needs no package of the trainer"
for module, package in EXTRA.items():
    if module in ("ot", "mlxtend", "fontTools", "mrcfile", "gemmi", "tomli", "PIL"):
        continue  # needed only by some data and one command
    for name in list(sys.modules):
        if name.startswith(("gpgan.cli.", "gpgan.training", "gpgan.data", "gpgan.metrics", module)):
            del sys.modules[name]
    sys.modules[module] = None
    print(main(["train", "digits", "--out", "none", "--dry-run"]), package, flush=True)
    del sys.modules[module]
"""


def test_a_missing_package_is_named():
    done = python(MISSING)
    packages = ["rich", "matplotlib", "safetensors", "scikit-learn"]
    assert done.stdout.splitlines()[-4:] == [f"2 {package}" for package in packages], done.stderr
    assert done.stderr.splitlines() == [
        f"gpgan: gpgan train needs {package}, which is not installed: pip install {package}" for package in packages
    ]


@pytest.mark.parametrize(
    "arguments", [["--version"], ["-V"], ["train", "--version"], ["doctor", "--version"]], ids=" ".join
)
def test_version(cli, arguments):
    assert cli(*arguments) == (0, f"gpgan {gpgan.__version__}\n", "")
