"""Times providers in turn, A B C A B C, and summarises the times."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

Call = Callable[[], Any]

ROUND_SECONDS = 500e-6  # shorter calls are repeated, so that the clock's own cost does not matter
FLUSH_BYTES = 1 << 30  # many times any cache; while the device writes it, the host runs ahead with its launches
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


class Clock(Protocol):
    def seconds(self, call: Call, repeats: int) -> float:
        """Seconds per call, the mean over repeats."""


class HostClock:
    def seconds(self, call: Call, repeats: int) -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - begin) / repeats


class DeviceClock:
    """Time between two events on the device, with a cold second-level cache."""

    def __init__(self) -> None:
        self.flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
        self.begin, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def seconds(self, call: Call, repeats: int) -> float:
        total = 0.0
        for _ in range(repeats):
            self.flush.zero_()
            self.begin.record()
            call()
            self.end.record()
            self.end.synchronize()
            total += self.begin.elapsed_time(self.end) / 1e3
        return total / repeats


class WallClock:
    """The host's clock until the device is done, so that launches count. Short calls are preceded by an untimed one, which
    absorbs what the previous provider left behind, such as threads that still wait for work."""

    def __init__(self, device: str) -> None:
        self.wait: Call = torch.cuda.synchronize if device == "cuda" else lambda: None

    def seconds(self, call: Call, repeats: int) -> float:
        if repeats > 1:
            call()
        self.wait()
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        self.wait()
        return (time.perf_counter() - begin) / repeats


class Interleaved:
    """Providers timed in turn. ``others`` runs all but the first, ``first`` runs the first: together they are one round.

    ``now`` is a clock that advances only while the first is timed, so that pytest-benchmark's statistics are those of the
    first.
    """

    def __init__(
        self,
        clock: Clock,
        calls: Mapping[str, Call],
        budget: float,
        rounds: tuple[int, int],
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        """Warms up, and leaves out a provider that raises.

        Args:
            clock: Measures a call.
            calls: By provider. The first may not fail.
            budget: Seconds for all rounds.
            rounds: Fewest and most rounds.
            round_seconds: The least that a provider's turn in a round takes.
        """
        self.clock = clock
        self.failed: dict[str, str] = {}
        self.calls: dict[str, Call] = {}
        self.repeats: dict[str, int] = {}
        self.now = 0.0
        # Keeps the garbage collector from walking through the objects of pytest and torch.compile during timing.
        gc.collect()
        gc.freeze()
        self.name, *others = calls
        cost = 0.0
        for name in (self.name, *others):
            try:
                calls[name]()
            except Exception as error:
                if name == self.name:
                    raise
                self.failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            seconds = min(clock.seconds(calls[name], 1) for _ in range(2))
            self.repeats[name] = (
                1 if isinstance(clock, DeviceClock) else max(1, min(1000, round(round_seconds / seconds)))
            )
            self.calls[name] = calls[name]
            cost += seconds * self.repeats[name]
        self.rounds = max(rounds[0], min(rounds[1], int(budget / cost)))
        self.samples: dict[str, list[float]] = {name: [] for name in self.calls}

    def _time(self, name: str) -> float:
        seconds = self.clock.seconds(self.calls[name], self.repeats[name])
        self.samples[name].append(seconds)
        return seconds

    def others(self) -> None:
        for name in self.calls:
            if name != self.name:
                self._time(name)

    def first(self) -> None:
        self.now += self._time(self.name)

    def timer(self) -> float:
        return self.now

    def run(self) -> None:
        """Runs all rounds."""
        for _ in range(self.rounds):
            self.others()
            self.first()


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles. A single value is all three."""
    if len(values) == 1:
        values = values * 2
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def summary(run: Interleaved, size: int, moved: int | None) -> dict[str, dict[str, Any]]:
    """For each provider its time, its ratio to the first's round by round, GB/s and percent of the copy.

    Args:
        run: After its rounds.
        size: Bytes of one tensor.
        moved: How many such tensors the computation has to read or write; None if unknown.
    """
    rows: dict[str, dict[str, Any]] = {name: {"failed": why} for name, why in run.failed.items()}
    first = run.samples[run.name]
    copy = 2 * size / spread(run.samples["copy"])["median"]
    for name, samples in run.samples.items():
        rows[name] = {"seconds": spread(samples), "calls_a_round": run.repeats[name]}
        if name != run.name:
            rows[name]["times_first"] = spread([other / own for other, own in zip(samples, first, strict=True)])
        tensors = 2 if name == "copy" else moved
        if tensors is not None:
            rate = tensors * size / rows[name]["seconds"]["median"]
            rows[name] |= {"gb_per_s": rate / 1e9, "percent_of_copy": 100 * rate / copy}
    return rows


def keep_freed_memory() -> None:
    """Lets malloc reuse freed memory. By default glibc asks the kernel anew for every tensor above 32 MB, and clearing those
    pages takes the kernel longer than any of the computations."""
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)):
        raise RuntimeError("malloc cannot be made to keep freed memory on this system; run with --memory fresh")
