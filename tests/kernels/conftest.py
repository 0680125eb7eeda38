"""The test module of CMakeLists.txt: the kernels on NumPy arrays, those of CUDA run on the CPU."""

from __future__ import annotations

import importlib.util
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BUILD = Path(__file__).parents[2] / "build" / "host"


@pytest.fixture(scope="session")
def _module() -> ModuleType:
    path = BUILD / f"gpgan_host{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not path.exists():
        pytest.fail(f"{path} is missing: build it with `make native`", pytrace=False)
    spec = importlib.util.spec_from_file_location("gpgan_host", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def host(_module: ModuleType) -> Iterator[ModuleType]:
    """gpgan_host with its default schedule."""
    _module.set_schedule()
    yield _module
    _module.set_schedule()


@pytest.fixture
def cuda_host(host: ModuleType) -> ModuleType:
    """gpgan_host with the CUDA kernels, which need CUDA's headers when it is built."""
    if not host.has_cuda:
        pytest.skip("gpgan_host was built without CUDA's headers")
    return host


@pytest.fixture(params=["cpu", "cuda"])
def backend(request: pytest.FixtureRequest, host: ModuleType) -> str:
    if request.param == "cuda":
        request.getfixturevalue("cuda_host")
    return str(request.param)
