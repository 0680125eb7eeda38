"""The table of super-resolution: what is measured is what is written."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import superresolve
from gpgan.cli import main


def test_the_interpolation_is_measured_as_a_run_is() -> None:
    found = superresolve.interpolation("digits")
    assert found["name"] == "bicubic interpolation"
    assert 5 < found["psnr"] < 20
    assert 0 < found["detail"] < found["ssim"] < 1


def test_runs_are_trained_measured_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> None:
        few = ["--steps", "2", "--tick", "1", "--batch", "8", "--threads", "1", "--network.width", "4"]
        assert main([*arguments, *(few if arguments[0] == "train" else [])]) == 0

    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "tasks.md").write_text(f"before\n{superresolve.BEGIN}\nold\n{superresolve.END}\nafter\n")
    monkeypatch.setattr(superresolve, "gpgan", run)
    folders = ["--runs", str(tmp_path / "runs"), "--docs", str(docs), "--output", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", ["superresolve", "--data", "digits", "--minutes", "1", *folders])
    assert superresolve.main() == 0

    [numbers] = (tmp_path / "results").iterdir()
    rows = json.loads(numbers.read_text())["rows"]
    assert [row["name"] for row in rows] == ["bicubic interpolation", "L1 alone", "L1 + 0.01 critic"]
    assert [row["config"]["task"]["critic"] for row in rows[1:]] == [0.0, 0.01]
    page = (docs / "tasks.md").read_text()
    assert "old" not in page
    assert "4 to 8 pixels, 1 minute each" in page
    for row in rows:
        assert (
            f"| {row['name']} | {row['step']} | {row['psnr']:.2f} | {row['ssim']:.3f} | {row['detail']:.2f} |" in page
        )
    for picture in ("samples", "curves"):
        with Image.open(docs / "images" / "superresolve" / f"{picture}.png") as image:
            assert image.width > 100


def test_a_run_that_diverges_has_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superresolve, "gpgan", lambda *arguments: "l1_loss is nan at step 2")
    options = argparse.Namespace(data="digits", minutes=1.0, runs=tmp_path)
    rows = [superresolve.run(weight, options) for weight in superresolve.WEIGHTS]
    page = superresolve.table(rows, {"cpu": "a CPU", "cpu_threads": 1}, "2000-01-01", options, "a.json")
    assert "| L1 + 0.01 critic | diverged | - | - | - |" in page
