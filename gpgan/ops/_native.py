"""Loads the compiled kernels, or records why they are unavailable."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

from gpgan.torch_private import constant_in_compiled_graphs

LIBRARY = Path(__file__).parent.parent / "_C.abi3.so"

# Schemas are defined in each operator's Python file; the compiled library only implements them.
library = torch.library.Library("gpgan", "DEF")


def _load() -> tuple[tuple[str, ...], str]:
    """The architectures of the library's CUDA kernels, and why it could not be loaded (empty if it was)."""
    if not LIBRARY.exists():
        return (), (
            "the native library was not built; run `make` in a clone, or `pip install --no-build-isolation .` "
            "on a machine with a C++ compiler"
        )
    try:
        torch.ops.load_library(LIBRARY)
        names = ctypes.CDLL(str(LIBRARY)).gpgan_cuda_architectures
    except (OSError, RuntimeError) as error:
        return (), f"the native library does not load with torch {torch.__version__}: {error}"
    names.restype = ctypes.c_char_p
    return tuple(names().decode().split()), ""


_architectures, _failure = _load()


def cuda_architectures() -> tuple[str, ...]:
    """The compute capabilities the library has CUDA kernels for, e.g. ("9.0", "12.0+PTX"); empty without CUDA."""
    return _architectures


@constant_in_compiled_graphs
def _has_code_for(device: torch.device | str) -> bool:
    """Whether a CUDA device runs one of the architectures: of the same major version, or compiled from older PTX."""
    capability = torch.cuda.get_device_capability(device)
    for name in _architectures:
        number, _, ptx = name.rstrip("af").partition("+")
        built = tuple(int(part.rstrip("af")) for part in number.split("."))
        if built <= capability and (ptx or built[0] == capability[0]):
            return True
    return False


def why_not_native(device: torch.device | str) -> str:
    """Why the native operators do not run on this device, and how to fix it; empty if they do."""
    kind = torch.device(device).type
    if _failure:
        return _failure
    if kind == "cpu":
        return ""
    if kind == "cuda":
        if not _architectures:
            return "the native library was built without CUDA; rebuild it with GPGAN_CUDA=1"
        if torch.cuda.is_available() and not _has_code_for(device):
            return (
                f"the native library has no code for this GPU, only for {', '.join(_architectures)}; rebuild it with its "
                "compute capability in TORCH_CUDA_ARCH_LIST"
            )
        return ""
    return f"gpgan has no kernels for {kind}"


def native_available(device: torch.device | str) -> bool:
    """Whether the native operators run on this device: "cpu", "cuda", or a torch.device."""
    return not why_not_native(device)


def require_native(device: torch.device) -> None:
    """Raises RuntimeError, with the fix, if the native operators do not run on this device."""
    reason = why_not_native(device)
    if reason:
        raise RuntimeError(f"gpgan.ops cannot run on {device}: {reason}. gpgan.ops.reference has the same functions")
