"""The compiled library as a file: what it needs from torch and Python, and what it implements."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gpgan.ops import _native, cuda_architectures


@pytest.mark.skipif(sys.version_info < (3, 11), reason="torch-abi-audit needs Python 3.11")
def test_runs_on_every_torch_from_2_11_on() -> None:
    command = [Path(sys.executable).parent / "torch-abi-audit", "--json", _native.LIBRARY]
    audit = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (library,) = audit["bundled_libs"]
    assert library["torch"]["unstable_symbols"] == []
    assert library["torch"]["unknown_shim_symbols"] == []
    assert library["torch"]["min_torch_version"] == "2.11.0"


def test_needs_neither_python_nor_a_cuda_runtime() -> None:
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", _native.LIBRARY], capture_output=True, text=True, check=True
    )
    undefined = [line.split()[-1] for line in symbols.stdout.splitlines()]
    assert undefined
    # The current stream comes from torch; the runtime itself is linked in.
    assert not [name for name in undefined if name.startswith(("Py", "_Py", "cuda", "cuLaunch"))]


def test_names_the_architectures_of_the_cuda_code_it_holds() -> None:
    names = ctypes.CDLL(str(_native.LIBRARY)).gpgan_cuda_architectures
    names.restype = ctypes.c_char_p
    assert names().decode() == " ".join(cuda_architectures())
    sections = subprocess.run(["readelf", "-SW", _native.LIBRARY], capture_output=True, text=True, check=True).stdout
    assert " .text " in sections
    assert (" .nv_fatbin " in sections) == bool(cuda_architectures())
    for name in cuda_architectures():
        number, _, ptx = name.partition("+")
        assert float(number) >= 7.5
        assert ptx in ("", "PTX")


def test_implements_every_operator_on_the_cpu_and_where_it_holds_cuda_code_on_cuda() -> None:
    operators = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("gpgan::")]
    assert {"gpgan::interpolate", "gpgan::gradient_norm_penalty_backward"} < set(operators)
    for name in operators:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "CPU"), name
        assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA") == bool(cuda_architectures()), name


@pytest.mark.parametrize(
    ("built", "capability", "runs"),
    [
        (("9.0",), (9, 0), True),
        (("8.0",), (8, 6), True),
        (("8.6",), (8, 0), False),
        (("9.0",), (8, 0), False),
        (("9.0",), (10, 0), False),
        (("8.0", "9.0+PTX"), (12, 0), True),
        ((), (9, 0), False),
    ],
)
def test_which_devices_the_library_runs_on(
    monkeypatch: pytest.MonkeyPatch, built: tuple[str, ...], capability: tuple[int, int], runs: bool
) -> None:
    monkeypatch.setattr(_native, "_architectures", built)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    assert _native.native_available("cuda") == runs
    assert runs == (not _native.why_not_native("cuda:0"))
