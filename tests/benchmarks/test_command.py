"""How the benchmarks run gpgan's own commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import command


def test_how_a_command_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def ending(said: str, status: int) -> str:
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
