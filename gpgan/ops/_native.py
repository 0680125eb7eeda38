"""Loads the compiled kernels, or remembers why they are not there."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

LIBRARY = Path(__file__).parent.parent / "_C.abi3.so"

# Schemas are defined beside each operator's Python; the library only implements them.
library = torch.library.Library("gpgan", "DEF")


def _load() -> tuple[ctypes.CDLL | None, str]:
    if not LIBRARY.exists():
        return None, (
            "the native library was not built; run `make` in a clone, or `pip install --no-build-isolation .` "
            "where a C++ compiler is"
        )
    try:
        torch.ops.load_library(LIBRARY)
        return ctypes.CDLL(str(LIBRARY)), ""
    except (OSError, RuntimeError) as error:
        return None, f"the native library does not load with torch {torch.__version__}: {error}"


_library, _failure = _load()


def cuda_architectures() -> tuple[str, ...]:
    """Compute capabilities the library holds CUDA kernels for, e.g. ("9.0", "12.0+PTX"); empty where it has none."""
    if _library is None:
        return ()
    names = _library.gpgan_cuda_architectures
    names.restype = ctypes.c_char_p
    return tuple(names().decode().split())


def why_not_native(device: torch.device | str) -> str:
    """Why the native operators do not run on this device, and what to do; empty where they do."""
    kind = torch.device(device).type
    if _library is None:
        return _failure
    if kind == "cpu":
        return ""
    if kind == "cuda":
        return "" if cuda_architectures() else "the native library was built without CUDA; rebuild it with GPGAN_CUDA=1"
    return f"gpgan has no kernels for {kind}"


def native_available(device: torch.device | str) -> bool:
    """Whether the native operators run on this device: "cpu", "cuda", or a torch.device."""
    return not why_not_native(device)


def require_native(device: torch.device) -> None:
    """Raises RuntimeError, with the fix, where the native operators do not run on this device."""
    reason = why_not_native(device)
    if reason:
        raise RuntimeError(f"gpgan.ops cannot run on {device}: {reason}. gpgan.ops.reference has the same functions")
