"""The default's benchmark: what is measured is what is written."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import default
from gpgan.cli import main
from gpgan.records.evaluations import evaluations

FEW = {
    "train": ["--steps", "8", "--tick", "3", "--batch", "8", "--threads", "1", "--network.width", "4"],
    "resume": ["--steps", "12"],
}


def few_steps(called: list[str], *arguments: str) -> str:
    """Runs a command with few steps, whatever its minutes."""
    called.append(arguments[0])
    assert main([*arguments, *FEW.get(arguments[0], [])]) == 0
    return ""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls ``default.main`` with small data; the list is that of the commands called."""
    called: list[str] = []
    monkeypatch.setattr(default, "gpgan", lambda *arguments: few_steps(called, *arguments))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    (tmp_path / "docs" / "images").mkdir(parents=True)
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), "--root", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["default", "--data", "digits", "--seeds", "2", "-n", "120", *folders])
    return called


def test_runs_are_trained_evaluated_resumed_and_written(tmp_path: Path, commands: list[str]) -> None:
    assert default.main() == 0
    assert commands == ["train", "eval", "resume", "eval"] * 2
    [path] = (tmp_path / "results").iterdir()
    result = json.loads(path.read_text())
    for seed, run in enumerate(result["runs"]):
        measured = evaluations(tmp_path / "runs" / f"seed-{seed}")
        assert [each["step"] for each in run["states"]] == [each["step"] for each in measured] == [8, 12]
        assert [run["quality"]["0"], run["quality"]["1"]] == [each["metrics"] for each in measured]
        assert run["config"]["seed"] == seed
        assert all(each["cpu_seconds"] > 0 for each in run["states"])
    assert str(tmp_path) not in path.read_text()
    table = default.block(result, path.name)
    kds = [run["quality"]["1"]["kd"]["score"] for run in result["runs"]]
    assert "| 20 | 12 ± 0 |" in table
    assert f"{sum(kds) / 2:.0f} ± " in table
    recalls = [run["quality"]["1"]["recall"]["score"] for run in result["runs"]]
    assert f"KD x 1000 {sum(kds) / 2:.0f} ± " in default.summary(result, path.name)
    assert f"recall {sum(recalls) / 2:.2f} ± " in default.summary(result, path.name)
    for picture in default.PICTURES:
        with Image.open(tmp_path / "docs" / "images" / f"default_{picture}.png") as image:
            assert image.width > 100
    # Again: everything is there.
    del commands[:]
    assert default.main() == 0
    assert commands == []


def test_nothing_is_published_from_a_busy_machine(
    tmp_path: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (50.0, 50.0, 50.0))
    assert default.main() == 1
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    assert default.main() == 1  # again: how busy it was is not forgotten
    assert not (tmp_path / "results").exists()
    assert capsys.readouterr().err.count("not published: the load was 50.0") == 2
