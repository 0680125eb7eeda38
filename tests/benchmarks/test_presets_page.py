"""The page of all presets: its content, and that finished runs are not repeated."""

import argparse
import json
import subprocess

import pytest
from torch import zeros

from benchmarks import command, presets
from gpgan.data import Dataset
from gpgan.settings.merging import settings_of
from gpgan.tasks.configure import configure


@pytest.fixture
def options(tmp_path):
    names = {name: tmp_path / name for name in ("runs", "docs", "output")}
    return argparse.Namespace(minutes=2.5, data="made", **names)


@pytest.fixture
def commands(monkeypatch, options):
    """Records the gpgan commands that are run, and leaves the files that real ones leave."""
    ran = []
    data = Dataset("made", zeros(600, 1, 28, 28))

    def gpgan(command, *arguments):
        ran.append((command, *arguments))
        if command == "train":
            preset = arguments[arguments.index("--preset") + 1]
            folder = options.runs / preset
            folder.mkdir(parents=True)
            config = settings_of(configure("made", data, preset=preset, threads=1, minutes=options.minutes))
            (folder / "config.json").write_text(json.dumps({"config": config}))
            for picture in ("samples", "curves"):
                (folder / f"{picture}.png").write_bytes(f"{preset} {picture}".encode())
        else:
            (folder,) = arguments
            evaluation = {"step": 70 + len(ran), "w1": 1.5, "w1_floor": 0.25, "reals": 500}
            (options.runs / folder.split("/")[-1] / "eval.json").write_text(json.dumps(evaluation))

    monkeypatch.setattr(presets, "gpgan", gpgan)
    return ran


def test_the_page_and_its_numbers(options, commands):
    results = {preset: presets.run(preset, options) for preset in presets.PAPERS}
    presets.write(results, options)
    page = (options.docs / "presets.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == presets.PAPERS
    for row, said in (
        (
            rows[presets.PAPERS.index("wgan")],
            "| wasserstein | weights within ±0.01 | rmsprop 5e-05 (0.99), batch 64, n_critic 5 |",
        ),
        (rows[presets.PAPERS.index("gan")], "| minimax | none | sgd 0.005 (0.5), batch 100, n_critic 1 |"),
        (rows[presets.PAPERS.index("sngan")], "| hinge | spectral normalisation |"),
        (rows[presets.PAPERS.index("wgan-lp")], r"| 10 (\|g\| - 1)² between real and fake, one-sided |"),
        (rows[presets.PAPERS.index("stylegan-r1")], r"| 5 \|g\|² at real samples (R1), every 16 steps |"),
    ):
        assert said in row
        assert row.replace(r"\|", "").count("|") == 7
    assert "--minutes 2.5" in page
    assert "0.25" in page
    for preset in presets.PAPERS:
        for picture in ("samples", "curves"):
            name = f"images/presets/{preset}-{picture}.png"
            assert f"]({name})" in page
            assert (options.docs / name).read_bytes() == f"{preset} {picture}".encode()
    [numbers] = options.output.glob("*-presets-*.json")
    assert f"results/{numbers.name})" in page
    assert set(json.loads(numbers.read_text())["runs"]) == set(presets.PAPERS)


def test_a_preset_that_diverges_does_not_end_the_table(options, commands, monkeypatch):
    made = presets.gpgan

    def gpgan(command, *arguments):
        made(command, *arguments)
        return "critic_loss is nan at step 3" if command == "train" and "lsgan" in arguments else ""

    monkeypatch.setattr(presets, "gpgan", gpgan)
    results = {preset: presets.run(preset, options) for preset in ("lsgan", "wgan")}
    assert [command for command, *_ in commands] == ["train", "train", "eval"]
    assert presets.run("lsgan", options) == results["lsgan"]
    assert len(commands) == 3
    presets.write(results, options)
    page = (options.docs / "presets.md").read_text()
    [row] = [line for line in page.splitlines() if line.startswith("| `lsgan`")]
    assert row.endswith("n_critic 1 | diverged | - |")
    assert "## lsgan\n\nIt diverged: critic_loss is nan at step 3\n" in page
    assert "images/presets/wgan-samples.png" in page
    with pytest.raises(RuntimeError, match="every preset diverged on made"):
        presets.write({"lsgan": results["lsgan"]}, options)


def test_how_a_command_ended(tmp_path, monkeypatch, capfd):
    def ending(said, status):
        stand_in = tmp_path / "python"
        stand_in.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit {status}\n')
        stand_in.chmod(0o755)
        monkeypatch.setattr(command.sys, "executable", str(stand_in))
        return command.gpgan("train")

    assert ending("reading data: 4/4", 0) == ""
    assert ending("gpgan: training diverged: x is nan. The run is in a", 1) == "x is nan. The run is in a"
    with pytest.raises(subprocess.CalledProcessError):
        ending("gpgan: data is x", 2)
    assert "data is x" in capfd.readouterr().err


def test_only_what_is_not_finished_is_made(options, commands):
    first = presets.run("wgan", options)
    made = list(commands)
    assert [command for command, *_ in made] == ["train", "eval"]
    assert presets.run("wgan", options) == first
    assert commands == made
    (options.runs / "wgan" / "eval.json").unlink()  # interrupted in between
    presets.run("wgan", options)
    assert [command for command, *_ in commands] == ["train", "eval"] * 2


def test_a_run_of_other_settings_is_made_again(options, commands):
    presets.run("wgan", options)
    options.minutes = 3.5
    assert presets.run("wgan", options)["config"]["minutes"] == 3.5
    assert [command for command, *_ in commands] == ["train", "eval"] * 2
    options.data = "other"  # the stand-in always writes the data set "made"
    with pytest.raises(RuntimeError, match="has no finished run of other for 3"):
        presets.run("wgan", options)
