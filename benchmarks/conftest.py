"""Options of the benchmark run, and the facts about machine and commit that pytest-benchmark records."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks import machine, measure


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpgan")
    group.addoption("--device", choices=("cpu", "cuda"), default="cpu")
    group.addoption("--quick", action="store_true", help="tiny sizes and few rounds, to check that everything runs")
    group.addoption("--memory", choices=("kept", "fresh"), default="kept", help="whether malloc keeps freed memory")
    group.addoption("--deadline", type=float, default=float("inf"), help="seconds after which rows are left out")
    group.addoption("--command", default="", help="the command, for the record in the result")


def pytest_configure(config: pytest.Config) -> None:
    torch.manual_seed(0)
    if config.getoption("device") == "cpu" and config.getoption("memory") == "kept":
        measure.keep_freed_memory()


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    described = machine.describe(config.getoption("device"), config.getoption("command"))
    return described | {"memory": config.getoption("memory")}


def pytest_benchmark_update_commit_info(commit_info: dict[str, Any]) -> None:
    for name in set(commit_info) - {"id", "dirty"}:
        del commit_info[name]
