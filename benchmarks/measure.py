"""Times providers in turn, A B C A B C, and says what the times are worth."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

Call = Callable[[], Any]

ROUND_SECONDS = 500e-6  # a call that is shorter is repeated, so that the clock's own cost does not count
FLUSH_BYTES = 1 << 30  # many times any cache; the host gets its launches in while the device writes it
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


class Clock(Protocol):
    def seconds(self, call: Call, repeats: int) -> float:
        """Seconds of one call, the mean over repeats."""


class HostClock:
    def seconds(self, call: Call, repeats: int) -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - begin) / repeats


class DeviceClock:
    """Time between two events on the device, from a cold second-level cache."""

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
    """The host's clock until the device is done, so that the time of launches counts. Where a call is short, one goes
    ahead untimed: it meets what the provider before has left, such as its threads still waiting for work."""

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
    """Providers timed in turn. ``others`` runs all but the first and ``first`` the first: together they are a round.

    The object is a clock that goes only while the first is timed, so that pytest-benchmark's statistics are its.
    """

    def __init__(
        self,
        clock: Clock,
        calls: Mapping[str, Call],
        budget: float,
        rounds: tuple[int, int],
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        """Warms up, and leaves out a provider that raises. budget: seconds for all rounds; rounds: fewest and most;
        round_seconds: what a provider's turn in a round is to take at least."""
        self.clock = clock
        self.failed: dict[str, str] = {}
        self.calls: dict[str, Call] = {}
        self.repeats: dict[str, int] = {}
        self.now = 0.0
        # What pytest and torch.compile keep alive is not for the garbage collector to walk through while we time.
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
        """All rounds."""
        for _ in range(self.rounds):
            self.others()
            self.first()


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles; of one value, three times that."""
    if len(values) == 1:
        values = values * 2
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def summary(run: Interleaved, size: int, moved: int | None) -> dict[str, dict[str, Any]]:
    """For each provider its time, how many times the first's it is round by round, GB/s and percent of the copy.

    size: bytes of one tensor; moved: how many such tensors the computation must read or write, None where unknown.
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
    """Lets malloc reuse what was freed. As it comes, glibc asks the kernel anew for every tensor above 32 MB, and the
    kernel's clearing of those pages takes longer than any of the computations, whoever does them."""
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)):
        raise RuntimeError("malloc cannot be told to keep memory here; run with --memory fresh")
