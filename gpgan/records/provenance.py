"""The provenance of a run, so that it can be identified and reproduced."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gpgan
from gpgan.data.facts import Facts
from gpgan.settings.config import RunConfig
from gpgan.util.words import counted


def provenance(config: RunConfig, data: Facts) -> dict[str, Any]:
    """The provenance of a run: data, device, versions and commit."""
    device = torch.device(config.device)
    return {
        "data": data.as_json(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "versions": _versions(),
        "git": _revision(),
    }


def _versions() -> Mapping[str, str]:
    """The versions that a run's numbers depend on."""
    return {
        "gpgan": gpgan.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux, where Python reports only the architecture
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, {counted(torch.get_num_threads(), 'thread')}"


def _revision() -> str | None:
    """The commit of the git checkout that gpgan runs from; None if it was installed."""
    root = Path(gpgan.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
