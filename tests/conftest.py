"""Fixtures for devices and implementations, and a count of skipped GPU tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from _pytest.terminal import TerminalReporter

from gpgan.util import warn

NO_GPU = "no CUDA device"


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=["native", "reference"])
def impl(request: pytest.FixtureRequest) -> str:
    """Both implementations. If the native library is missing, its tests fail; they are never skipped."""
    return str(request.param)


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Records of trained runs go to a temporary folder, also from processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fixes the seed, resets the warnings already given, and restores torch's process-wide switches and the process's cores."""
    torch.manual_seed(0)
    monkeypatch.setattr(warn, "_given", set())
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    yield
    if cores:  # benchmarks limit them
        os.sched_setaffinity(0, cores)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip(NO_GPU)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "gpu" in r.keywords]
    reasons = sorted({r.longrepr[2].removeprefix("Skipped: ") for r in skipped if isinstance(r.longrepr, tuple)})
    terminalreporter.write_line(f"GPU tests skipped: {len(skipped)}" + (f" ({'; '.join(reasons)})" if reasons else ""))
