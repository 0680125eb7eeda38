"""Measures a case: checks gradients against a float64 reference, then counts, then times the steps."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.critic_step import counting
from benchmarks.critic_step.critics import Case, make_problem
from benchmarks.critic_step.providers import HALF_PROVIDERS, PROVIDERS, Provider, Step, Stock
from benchmarks.measure import Interleaved, WallClock, spread

STOCK, JAX, UNPENALISED = "stock", "JAX", "stock, no penalty"
HALF = ", bfloat16"  # suffix of a row's name
BASES = (STOCK, JAX, UNPENALISED)

# Seconds for all rounds of a case; fewest and most rounds; length of one turn.
BUDGET = {"cpu": (60.0, (5, 41)), "cuda": (4.0, (9, 41))}
QUICK = (0.02, (3, 3))
TURN_SECONDS = 20e-3

# If an activation is so near 0 that rounding decides its slope, the gradients change. One such activation in the DCGAN critic,
# which stock rounds to one side and JAX and the schedule to the other, changes them by 6e-4 of a weight's norm.
KINK = 2e-3
# The error of a gradient that is 0 up to rounding is relative to this share of the norm of all gradients.
SMALL = 1e-3

Row = dict[str, Any]


def rows_of(case: Case, device: str, quick: bool) -> dict[str, tuple[Provider, str]]:
    """The providers of a case, each with its precision. A quick run compiles nothing."""
    rows = {
        name: (provider, case.precision)
        for name, provider in PROVIDERS.items()
        if device in provider.on and not (quick and provider.inductor)
    }
    if case.bfloat16_too:
        rows |= {name + HALF: (PROVIDERS[name], "bfloat16") for name in HALF_PROVIDERS}
    return rows


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def gradients_of(step: Step) -> list[np.ndarray]:
    """A copy outside torch's memory, which is being measured."""
    return [np.array(value.detach().cpu().numpy(), dtype=np.float64) for value in step.gradients()]


def gradient_error(got: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    """The largest relative error over the parameters; infinite if a gradient is missing or not a number."""
    if [g.shape for g in got] != [e.shape for e in exact]:
        return math.inf
    smallest = SMALL * np.sqrt(sum(np.square(e).sum() for e in exact))
    errors = [np.linalg.norm(g - e) / max(np.linalg.norm(e), smallest) for g, e in zip(got, exact, strict=True)]
    return math.inf if np.isnan(errors).any() else float(max(errors))


def _generated_kernels() -> int:
    from torch._inductor import metrics

    return metrics.generated_kernel_count


def prepare(
    provider: Provider, case: Case, precision: str, device: str, alpha: Tensor
) -> tuple[Step, list[np.ndarray], Row]:
    """A step, the gradients of its first call, and what was counted."""
    problem = make_problem(case, device, precision)
    parameters = counting.bytes_of(list(problem.net.parameters()))
    generated = _generated_kernels() if provider.inductor else 0
    compiling = counting.compiled_operations() if provider.inductor else contextlib.nullcontext([])
    with counting.peak_memory(device) as peak:
        with compiling as graphs:  # the first step compiles them
            step = provider.make(problem)
            step(alpha)
        gradients = gradients_of(step)
        step()
        if not provider.captured:  # a graph's memory is allocated once, during capture
            peak.look()
            step()
    row: Row = {"precision": precision, "note": step.note}
    own = step.own_counts()
    if own:
        return step, gradients, row | own
    counter = counting.count(step)
    with counting.OperatorCounter() as forward, torch.no_grad():
        problem.net(problem.real)
    operations = max(counter.operations, sum(graphs))
    row |= {
        # A captured graph shows no operators.
        "forwards": operations / forward.operations if operations else None,
        "calls": sum(counter.calls.values()),
        "unknown_operators": counter.unknown(),
        # Adam's two moments do not count.
        "peak_bytes": peak.bytes - 2 * parameters,
        "state_bytes": 3 * parameters + counting.bytes_of([problem.real, problem.fake]),
    }
    if provider.inductor:
        row["generated_kernels"] = _generated_kernels() - generated
    if device == "cuda":
        row |= counting.cuda_launches(step)
    return step, gradients, row


@dataclass(frozen=True)
class Deadline:
    """In time.monotonic(). Compiling takes longest and may only use the first half, so that every case gets its other rows."""

    compiling: float = math.inf
    all: float = math.inf

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds / 2, time.monotonic() + seconds)

    def over(self, provider: Provider) -> bool:
        return time.monotonic() > (self.compiling if provider.inductor else self.all)


def exact_gradients(case: Case, device: str, alpha: Tensor) -> list[np.ndarray]:
    """Stock's in float64."""
    step = Stock(make_problem(case, device, "float64"))
    step(alpha.double())
    return gradients_of(step)


def prepare_all(case: Case, device: str, quick: bool, deadline: Deadline) -> tuple[dict[str, Row], dict[str, Step]]:
    """A row for every provider, and the steps to be timed: those with correct gradients."""
    chosen = rows_of(case, device, quick)
    if any(provider.inductor for provider, _ in chosen.values()):
        torch._dynamo.reset()  # so that each case is as in a new process
    alpha = torch.rand(case.batch, generator=torch.Generator().manual_seed(0)).to(device)
    exact = exact_gradients(case, device, alpha)
    rows: dict[str, Row] = {}
    steps: dict[str, Step] = {}
    allowed: dict[str, float] = {}
    for name, (provider, precision) in chosen.items():
        if name != STOCK and deadline.over(provider):
            rows[name] = {"left_out": "the deadline had passed"}
            continue
        try:
            step, gradients, rows[name] = prepare(provider, case, precision, device, alpha)
        except Exception as error:
            if name == STOCK:
                raise
            kind = "left_out" if provider.optional and isinstance(error, ImportError) else "failed"
            rows[name] = {kind: f"{type(error).__name__}: {error}".splitlines()[0]}
            continue
        if provider.penalised:
            off = gradient_error(gradients, exact)
            # Stock comes first in each precision; its error is what that precision costs.
            limit = allowed.setdefault(precision, 2 * off + KINK)
            rows[name] |= {"gradient_error": off, "gradient_error_allowed": limit}
            # JAX has no autocast: in bfloat16 it rounds in other places. The table shows its error.
            if off > limit and not (name == JAX and precision == "bfloat16"):
                rows[name]["failed"] = f"the error of its gradients is {off:.2g}; expected at most {limit:.2g}"
                continue
        steps[name] = step
    return rows, steps


def measure(case: Case, device: str, quick: bool, deadline: Deadline) -> dict[str, Any]:
    """One case: its rows by provider."""
    with tf32(case.precision == "tf32"):
        rows, steps = prepare_all(case, device, quick, deadline)
        budget, rounds = QUICK if quick else BUDGET[device]
        timed = Interleaved(WallClock(device), steps, budget, rounds, QUICK[0] if quick else TURN_SECONDS)
        timed.run()
    for name, why in timed.failed.items():
        rows[name]["failed"] = why
    for name, samples in timed.samples.items():
        bases = [base for base in BASES if base in timed.samples and base != name]
        ratios = {
            base: spread([own / other for own, other in zip(samples, timed.samples[base], strict=True)])
            for base in bases
        }
        rows[name] |= {"seconds": spread(samples), "times": ratios}
    return {
        "case": case.name,
        "critic": case.critic.split()[0],
        "width": case.width,
        "batch": case.batch,
        "precision": case.precision,
        "rounds": timed.rounds,
        "rows": rows,
    }
