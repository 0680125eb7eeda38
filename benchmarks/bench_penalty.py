"""Every operation over sizes and dtypes: one benchmark per row, whose providers are timed in turn."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measure import Clock, DeviceClock, HostClock, Interleaved, summary
from benchmarks.providers import OPERATIONS, make_inputs

Shape = tuple[int, ...]

CPU_SHAPES: tuple[Shape, ...] = (
    (64, 2),
    (64, 784),
    (64, 3, 32, 32),
    (64, 3, 64, 64),
    (64, 3, 128, 128),
    (64, 3, 256, 256),
    (8, 1, 96, 96, 96),
)
# On a GPU: one row length per regime of csrc/cuda/reduce.cuh, in tensors of this many MiB.
GPU_SAMPLES: tuple[Shape, ...] = ((784,), (3, 32, 32), (3, 128, 128))
GPU_MIB = (1, 8, 64, 256, 1024)
GPU_OPERATIONS = ("interpolate", "penalty_forward", "penalty_backward", "one_pass")
CPU_OPERATIONS = ("interpolate", "penalty_forward", "penalty_forward_backward", "one_pass", "gradient_penalty")
CEILING_BYTES = 256 << 20

# Seconds for all rounds of a row; fewest and most rounds.
BUDGET = {"cpu": (1.5, (9, 41)), "cuda": (0.4, (9, 25))}
QUICK = (0.05, (3, 5))

_runs: list[Interleaved] = []
_started = time.monotonic()


def provider_clock() -> float:
    """pytest-benchmark's timer. It advances only while gpgan, or a ceiling's copy, is timed."""
    return _runs[-1].now


def shapes(device: str, quick: bool, dtype: torch.dtype) -> list[Shape]:
    if device == "cpu":
        return list(CPU_SHAPES[:2] if quick else CPU_SHAPES)
    sizes = GPU_MIB[:1] if quick else GPU_MIB
    return [
        (round(mib * 2**20 / (math.prod(sample) * dtype.itemsize)), *sample) for sample in GPU_SAMPLES for mib in sizes
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    device, quick = metafunc.config.getoption("device"), metafunc.config.getoption("quick")
    dtypes = (torch.float32, torch.bfloat16)
    if "operation" in metafunc.fixturenames:
        names = GPU_OPERATIONS if device == "cuda" else CPU_OPERATIONS
        rows = [(name, shape, dtype) for name in names for dtype in dtypes for shape in shapes(device, quick, dtype)]
        ids = [f"{name}-{'x'.join(map(str, shape))}-{str(dtype)[6:]}" for name, shape, dtype in rows]
        metafunc.parametrize(("operation", "shape", "dtype"), rows, ids=ids)


def run(benchmark: BenchmarkFixture, config: pytest.Config, calls: dict[str, Callable[[], Any]]) -> Interleaved:
    device: str = config.getoption("device")
    clock: Clock = DeviceClock() if device == "cuda" else HostClock()
    budget, rounds = QUICK if config.getoption("quick") else BUDGET[device]
    timed = Interleaved(clock, calls, budget, rounds)
    _runs[:] = [timed]
    gc.collect()
    benchmark.pedantic(timed.first, setup=timed.others, rounds=timed.rounds)
    return timed


@pytest.fixture(autouse=True)
def _within_deadline(request: pytest.FixtureRequest) -> None:
    deadline = request.config.getoption("deadline")
    if time.monotonic() - _started > deadline:
        pytest.skip(f"not measured: the deadline of {deadline:.0f} s has passed")


@pytest.mark.benchmark(timer=provider_clock)
def test_ceiling(benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> None:
    """The memory's own speed: a copy, a read and a write."""
    device, quick = pytestconfig.getoption("device"), pytestconfig.getoption("quick")
    size = 1 << 20 if quick else CEILING_BYTES
    source, target = (torch.ones(size // 4, device=device) for _ in range(2))
    timed = run(
        benchmark,
        pytestconfig,
        {"copy": lambda: target.copy_(source), "read": source.sum, "write": lambda: target.fill_(2.0)},
    )
    providers = summary(timed, size, 1)
    benchmark.extra_info.update(kind="ceiling", bytes=size, providers=providers)


@pytest.mark.benchmark(timer=provider_clock)
def test_operation(
    benchmark: BenchmarkFixture, pytestconfig: pytest.Config, operation: str, shape: Shape, dtype: torch.dtype
) -> None:
    device = pytestconfig.getoption("device")
    inputs = make_inputs(shape, dtype, device)
    calls: dict[str, Callable[[], Any]] = dict(OPERATIONS[operation].make(inputs))
    target = torch.empty_like(inputs.real)
    calls["copy"] = lambda: target.copy_(inputs.real)
    if pytestconfig.getoption("quick"):
        del calls["compiled"]
    moved = OPERATIONS[operation].moved
    size = inputs.real.nbytes
    providers = summary(run(benchmark, pytestconfig, calls), size, moved)
    benchmark.extra_info.update(
        kind="operation",
        operation=operation,
        device=device,
        shape=list(shape),
        dtype=str(dtype).removeprefix("torch."),
        bytes=size,
        bytes_moved_at_least=None if moved is None else moved * size,
        providers=providers,
    )
