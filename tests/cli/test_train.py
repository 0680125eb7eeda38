"""gpgan train: its output, the precedence of settings, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_runs import last_json

import gpgan
from gpgan import ops
from gpgan.records import checkpoint
from gpgan.tasks.configure import from_settings

ROOT = Path(gpgan.__file__).parent.parent


def config_of(run):
    return json.loads((run / "config.json").read_text("utf-8"))["config"]


@pytest.fixture
def points(tmp_path):
    """30 points in a file."""
    path = tmp_path / "points.npy"
    np.save(path, np.random.default_rng(0).normal(size=(30, 2)))
    return path


def test_train(cli, tmp_path, quick):
    """One run with all pictures."""
    status, out, err = cli(
        "train", "digits", *quick, "--out", tmp_path, "--name", "mine", "--seed", 5, "--penalty.weight", 2
    )
    assert (status, err) == (0, "")
    assert "digits: 1618 images of 1 x 8 x 8 and 179 held out; mlp networks on cpu" in out
    assert "penalty: native operators" in out
    assert "step 4/4" in out
    assert "Done at step 4, after " in out
    assert f"Results are in {tmp_path}/mine:" in out
    assert "{" not in out
    for name in ("report.html", "samples.png", "curves.png", "config.json", "generator.safetensors", "reals.png"):
        assert name in out
        assert (tmp_path / "mine" / name).exists()
    config = config_of(tmp_path / "mine")
    assert (config["seed"], config["penalty"]["weight"], config["network"]["width"]) == (5, 2.0, 4)
    # Neither given nor a default of the class: chosen from the data.
    assert config["optimizer"]["lr"] == 2e-3


def test_flags_may_stand_before_the_data(cli, tmp_path, quick, undrawn):
    assert cli("train", *quick, "--out", tmp_path, "ring")[0] == 0
    assert config_of(tmp_path / "00000-ring")["penalty"]["weight"] == 0.1


def test_the_flags_that_scripts_use(cli, tmp_path, points, undrawn):
    arguments = [
        "--steps",
        "3",
        "--minutes",
        "5",
        "--seed",
        "7",
        "--batch",
        "8",
        "--name",
        "mine",
        "--device",
        "cpu",
        "--json",
    ]
    status, out, err = cli("train", points, *arguments, "--out", tmp_path / "runs")
    assert (status, err) == (0, "")
    assert last_json(out) == {"run": str(tmp_path / "runs" / "mine"), "step": 3, "reason": "done"}
    config = config_of(tmp_path / "runs" / "mine")
    assert [config[name] for name in ("steps", "minutes", "seed", "batch", "name", "device")] == [
        3,
        5,
        7,
        8,
        "mine",
        "cpu",
    ]
    assert config["data"] == str(points)


@pytest.mark.parametrize("name", ["[red]a b", ":smile:", "žluťoučký 馬", "x" * 200, "{run}"])
def test_json_names_the_run_whatever_it_is_called(cli, tmp_path, monkeypatch, points, undrawn, name):
    """Also in a narrow terminal, and with a path given from another folder."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.chdir(tmp_path)
    status, out, err = cli("train", points, "--steps", 1, "--n-critic", 1, "--out", "my runs", "--name", name, "--json")
    assert (status, err) == (0, "")
    assert Path(last_json(out)["run"]) == tmp_path / "my runs" / name
    assert (Path(last_json(out)["run"]) / "config.json").exists()
    assert f"Results are in my runs/{name}:" in out


def dry(cli, *arguments):
    status, out, err = cli("train", *arguments, "--dry-run")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_precedence(cli, tmp_path, points):
    """n_critic is 5 by default for points, 5 in the preset; batch 27 (all), then 256 cut to 27; weights 0.1."""
    file = tmp_path / "my settings.toml"
    file.write_text("[penalty]\nweight = 3\n[optimizer]\nbeta1 = 0.25\n")
    plain = dry(cli, points)
    preset = dry(cli, points, "--preset", "wgan-gp")
    in_file = dry(cli, points, "--preset", "wgan-gp", "--config", file)
    flags = dry(cli, points, "--preset", "wgan-gp", "--config", file, "--penalty.weight", "4", "--n-critic=2")
    assert [c["penalty"]["weight"] for c in (plain, preset, in_file, flags)] == [0.1, 10.0, 3.0, 4.0]
    assert [c["optimizer"]["lr"] for c in (plain, preset, in_file, flags)] == [1e-3, 1e-4, 1e-4, 1e-4]
    assert [c["optimizer"]["beta1"] for c in (plain, preset, in_file, flags)] == [0.0, 0.0, 0.25, 0.25]
    assert [c["n_critic"] for c in (plain, preset, in_file, flags)] == [5, 5, 5, 2]
    assert [c["preset"] for c in (plain, preset, in_file, flags)] == ["auto", "wgan-gp", "wgan-gp", "wgan-gp"]
    # File over default, flag over default, flag over preset, flag over file without a preset.
    assert dry(cli, points, "--config", file)["penalty"]["weight"] == 3.0
    assert dry(cli, points, "--penalty.weight", "4")["penalty"]["weight"] == 4.0
    assert dry(cli, points, "--preset", "wgan-gp", "--penalty.weight", "4")["penalty"]["weight"] == 4.0
    assert dry(cli, points, "--config", file, "--penalty.weight", "4")["penalty"]["weight"] == 4.0


def test_data_preset_and_switches_of_a_file(cli, tmp_path, points):
    file = tmp_path / "a.toml"
    file.write_text(f'data = "{points}"\npreset = "wgan-gp-toy"\nconditional = true\npenalty.one-sided = true\n')
    assert cli("train", "--config", file, "--dry-run")[0] == 2  # no labels
    config = dry(cli, "--config", file, "--no-conditional")
    assert (config["data"], config["preset"], config["conditional"]) == (str(points), "wgan-gp-toy", False)
    assert (config["network"]["width"], config["penalty"]["one_sided"]) == (512, True)
    assert dry(cli, "--config", file, "--no-conditional", "--penalty.no-one-sided")["penalty"]["one_sided"] is False
    assert dry(cli, "ring", "--config", file, "--no-conditional")["data"] == "ring"
    assert dry(cli, "--config", file, "--no-conditional", "--preset", "auto")["network"]["width"] == 128


SWITCHES = ["conditional", "deterministic", "penalty.one-sided"]


@pytest.mark.parametrize("switch", SWITCHES)
def test_switches_can_be_switched_off_again(cli, switch):
    tree, _, leaf = switch.rpartition(".")
    off = f"--{tree}.no-{leaf}" if tree else f"--no-{leaf}"

    def value(*flags):
        config = dry(cli, "digits", *flags)
        return (config[tree] if tree else config)[leaf.replace("-", "_")]

    assert [value(), value(f"--{switch}"), value(f"--{switch}", off), value(off)] == [False, True, False, False]


def test_dry_run_writes_nothing_and_shows_what_a_run_records(cli, tmp_path, points, undrawn):
    before = sorted(tmp_path.iterdir())
    arguments = [points, "--steps", 2, "--n-critic", 1, "--optimizer.schedule", "cosine", "--out", tmp_path / "runs"]
    shown = dry(cli, *arguments)
    assert sorted(tmp_path.iterdir()) == before
    assert cli("train", *arguments)[0] == 0
    assert config_of(tmp_path / "runs" / "00000-points") == shown
    assert (shown["device"], shown["impl"], shown["network"]["kind"]) == ("cpu", "native", "mlp")
    assert from_settings(shown)[1].optimizer.schedule == "cosine"


def toml(settings, table=""):
    """Settings as TOML; null is skipped, as TOML does not have it."""
    lines, tables = [f"[{table}]"] if table else [], []
    for name, value in settings.items():
        if isinstance(value, dict):
            tables += toml(value, name)
        elif value is not None:
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return lines + tables


def test_what_a_dry_run_shows_can_be_given_back(cli, tmp_path, points):
    shown = dry(cli, points, "--preset", "wgan-gp", "--seed", "3", "--optimizer.clip", "0.5", "--out", tmp_path / "ü b")
    (tmp_path / "saved.toml").write_text("\n".join(toml(shown)), "utf-8")
    assert dry(cli, "--config", tmp_path / "saved.toml") == shown


def test_existing_name_says_so_and_offers_to_go_on(cli, trained):
    run = trained()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    status, out, err = cli("train", "digits", "--out", run.parent, "--name", run.name)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert f"{run} already exists; to continue it: gpgan resume {run};" in err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_minutes(cli, tmp_path, points, undrawn):
    status, out, err = cli("train", points, "--steps", 10**9, "--minutes", 0.005, "--out", tmp_path / "runs", "--json")
    told = last_json(out)
    assert (status, err, told["reason"]) == (0, "", "minutes")
    assert "Time limit reached; saved at step" in out
    assert checkpoint.newest(Path(told["run"]))[0]["step"] == told["step"] < 10**9


def test_networks_of_ones_own(cli, tmp_path, monkeypatch, points, quick, undrawn):
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "def generator(latent, shape):\n    return nn.Linear(latent, *shape)\n"
        "class Critic(nn.Linear):\n    def __init__(self, shape):\n        super().__init__(*shape, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = ["--network.generator", "my_networks:generator", "--network.critic", "my_networks:Critic"]
    assert cli("train", points, *quick, *own, "--name", "own")[0] == 0
    state = checkpoint.newest(Path("runs/own"))[0]
    assert (state["generator"]["weight"].shape, state["critic"]["weight"].shape) == ((2, 4), (1, 2))
    for command in (
        ["resume", "runs/own", "--steps", 5],
        ["sample", "runs/own", "--out", "a.npy"],
        ["export", "runs/own"],
    ):
        assert cli(*command)[0] == 0


def test_divergence_is_one_line(cli, tmp_path, quick, undrawn):
    status, _, err = cli("train", "digits", *quick, "--out", tmp_path, "--optimizer.lr", "1e30")
    assert (status, err.count("\n")) == (1, 1)
    for words in ("gpgan: training diverged: generator_loss is nan at step 1;", "Lower --optimizer.lr", "00000-digits"):
        assert words in err
    assert checkpoint.newest(tmp_path / "00000-digits")[0]["step"] == 0


def test_a_run_that_cannot_write_is_one_line(cli, tmp_path, quick, undrawn, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpgan.records.recorder.Recorder.tick", full)
    status, _, err = cli("train", "digits", *quick, "--out", tmp_path)
    assert (status, err.count("\n")) == (1, 1)
    assert f"No space left on device. Its records are in {tmp_path}/00000-digits" in err


def test_a_fault_of_the_program_is_not_called_bad_input(cli, tmp_path, quick, undrawn, monkeypatch):
    """Exit status 2 means a bad command line; once a run has started, an error shows its traceback."""

    def broken(*_):
        raise ValueError("a bug")

    monkeypatch.setattr("gpgan.records.recorder.Recorder.tick", broken)
    with pytest.raises(ValueError, match="a bug"):
        cli("train", "digits", *quick, "--out", tmp_path)


def test_operators_that_are_missing_are_named(cli, tmp_path, quick, undrawn, monkeypatch):
    monkeypatch.setattr(ops, "why_not_native", lambda device: "it was not built")
    monkeypatch.setattr(ops, "native_available", lambda device: False)
    status, out, _ = cli("train", "digits", *quick, "--out", tmp_path)
    assert status == 0
    assert "penalty: reference operators, because it was not built" in out


def test_control_c_saves_and_exits_130(tmp_path, points):
    command = [
        sys.executable,
        "-m",
        "gpgan",
        "train",
        str(points),
        "--out",
        str(tmp_path),
        "--name",
        "mine",
        "--tick",
        "1",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    deadline = time.monotonic() + 100
    while not (tmp_path / "mine" / "stats.jsonl").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "Interrupted and saved" in out
    files = [path for path in (tmp_path / "mine").rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"samples.png", "generator.safetensors", "stats.jsonl", "config.json", "report.html", "latest.pt"} <= names
    assert not any(name.endswith(".partial") for name in names)
