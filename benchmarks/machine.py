"""What a result was measured on: models and versions, without host names or paths."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

import gpgan
from gpgan.ops import cuda_architectures


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1).strip() if found else "unknown"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else _output("sysctl", "-n", "machdep.cpu.brand_string")
    return _first(r"model name\s*:\s*(.+)", text) if info.exists() else text.strip() or platform.machine()


def library_compiler() -> str:
    """The compiler of the native library, as it is recorded in the library."""
    library = Path(gpgan.__file__).with_name("_C.abi3.so")
    found = (
        re.search(rb"GCC: \([^)]*\) [\d.]+|clang version [\d.]+", library.read_bytes()) if library.exists() else None
    )
    return found.group().decode() if found else "unknown"


def describe(device: str, command: str) -> dict[str, Any]:
    machine: dict[str, Any] = {
        "command": command,
        "cpu": cpu_model(),
        "cpu_threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpgan": gpgan.__version__,
        "compiler": library_compiler(),
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        machine |= {
            "gpu": properties.name,
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
            "gpu_l2_mib": round(properties.L2_cache_size / 2**20, 1),
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0").strip()
            or "unknown",
            "cuda": torch.version.cuda,
            "nvcc": _first(r"release ([\d.]+)", _output("nvcc", "--version")),
            "gpgan_cuda_architectures": " ".join(cuda_architectures()),
        }
    return machine


def slug(device: str) -> str:
    """The measured processor's model, for file names."""
    model = torch.cuda.get_device_name(0) if device == "cuda" else cpu_model()
    return re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
