"""The targets of a critic step, and whether a result meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.critic_step.providers import PROVIDERS
from benchmarks.critic_step.run import HALF, JAX, STOCK, UNPENALISED

Rows = dict[str, dict[str, Any]]
Found = tuple[float, str] | None  # the number and the row it comes from

JUDGED = tuple(name for name, provider in PROVIDERS.items() if provider.judged)
JUDGED_HALF = tuple(name + HALF for name in JUDGED)


def _present(rows: Rows, names: Iterable[str], key: str) -> list[tuple[Any, str]]:
    return [
        (rows[name][key], name)
        for name in names
        if name in rows and "failed" not in rows[name] and rows[name].get(key) is not None
    ]


def most_operations(rows: Rows) -> Found:
    """The most operations of gpgan's rows."""
    return max(_present(rows, JUDGED, "forwards"), default=None)


def _fastest(rows: Rows, base: str, names: Iterable[str]) -> Found:
    times = [(times[base]["median"], name) for times, name in _present(rows, names, "times") if base in times]
    return min(times, default=None)


def fastest(base: str, names: Iterable[str] = JUDGED) -> Callable[[Rows], Found]:
    """The time of gpgan's fastest row divided by another row's, round by round."""
    return lambda rows: _fastest(rows, base, names)


def memory_of_fastest(rows: Rows) -> Found:
    found = _fastest(rows, STOCK, JUDGED)
    return found and (rows[found[1]]["peak_bytes"] / rows[STOCK]["peak_bytes"], found[1])


@dataclass(frozen=True)
class Target:
    what: str
    critic: tuple[str, int] | None  # its kind and width; None: every critic
    precision: str | None
    limit: float
    value: Callable[[Rows], Found]


CPU_TARGETS = (
    Target("operations in F", ("MLP", 512), "float32", 10.01, most_operations),
    Target("operations in F", ("DCGAN", 32), "float32", 9.90, most_operations),
    Target("operations in F", ("ResNet", 128), "float32", 10.1, most_operations),
    Target("time / stock", ("MLP", 512), "float32", 0.67, fastest(STOCK)),
    Target("time / JAX", ("MLP", 512), "float32", 0.95, fastest(JAX)),
    Target("time / stock", ("MLP", 64), "float32", 0.30, fastest(STOCK)),
    Target("time / JAX", ("MLP", 64), "float32", 1.0, fastest(JAX)),
    Target("time / stock", ("DCGAN", 32), "float32", 0.78, fastest(STOCK)),
    Target("time / stock without penalty", ("DCGAN", 32), "float32", 1.75, fastest(UNPENALISED)),
    Target(
        "time under bfloat16 autocast / stock in float32", ("DCGAN", 32), "float32", 0.45, fastest(STOCK, JUDGED_HALF)
    ),
    Target("peak memory / stock", ("DCGAN", 32), "float32", 0.75, memory_of_fastest),
)
GPU_TARGETS = (
    Target("time / stock", ("MLP", 64), "float32", 1 / 5, fastest(STOCK)),
    Target("time / stock", ("DCGAN", 64), "bfloat16", 1 / 1.8, fastest(STOCK)),
    Target("time / JAX", None, None, 1.0, fastest(JAX)),
)
TARGETS = {"cpu": CPU_TARGETS, "cuda": GPU_TARGETS}


@dataclass(frozen=True)
class Verdict:
    case: str
    what: str
    limit: float
    value: float | None  # None: not measured
    provider: str

    @property
    def met(self) -> bool | None:
        return None if self.value is None else self.value <= self.limit


def verdicts(result: dict[str, Any]) -> list[Verdict]:
    """Each target for each case that it applies to. A quick run is not judged, because its critics are others."""
    judged = []
    for target in () if result["quick"] else TARGETS[result["device"]]:
        for case in result["cases"]:
            if target.critic not in (None, (case["critic"], case["width"])):
                continue
            if target.precision not in (None, case["precision"]):
                continue
            value, provider = target.value(case["rows"]) or (None, "")
            judged.append(Verdict(case["case"], target.what, target.limit, value, provider))
    return judged
