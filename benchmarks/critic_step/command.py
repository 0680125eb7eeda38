"""``python -m benchmarks critic_step``: measures, and writes <machine>-critic-step-<date>.json, .md and .png."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import sys
import time

import torch
from pytest_benchmark.utils import get_commit_info

from benchmarks import machine, measure
from benchmarks.critic_step import critics, report
from benchmarks.critic_step.ceilings import ceilings
from benchmarks.critic_step.run import Deadline
from benchmarks.critic_step.run import measure as measure_case
from benchmarks.documents import write_into

THREADS = 2


def use_threads(threads: int) -> None:
    """Limits the threads of torch, and those of JAX, which uses as many as the process has cores."""
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main(options: argparse.Namespace, given: str) -> int:
    """Returns 1 if a row failed, or a critic was left out for time. ``given``: the options, for the record in the result."""
    deadline = Deadline() if options.deadline is None else Deadline.after(options.deadline)
    if options.device == "cpu":
        # On a busy machine two threads of a tiny critic would wait for each other.
        use_threads(1 if options.quick else THREADS)
        if options.memory == "kept":
            measure.keep_freed_memory()
    chosen = [case for case in critics.cases(options.device, options.quick) if (options.only or "") in case.name]
    if not chosen:
        sys.exit(f"no critic's name contains {options.only!r}")
    result = {
        "kind": "critic_step",
        "device": options.device,
        "quick": options.quick,
        "date": str(datetime.date.today()),
        "machine": machine.describe(options.device, f"python -m benchmarks {given}")
        | {"jax": version("jax"), "optax": version("optax"), "memory": options.memory},
        "commit": {name: value for name, value in get_commit_info().items() if name in ("id", "dirty")},
        "ceilings": ceilings(options.device, options.quick),
        "cases": [],
        "left_out": [],
    }
    stem = options.output / f"{machine.slug(options.device)}-critic-step-{result['date']}"
    for case in chosen:
        if time.monotonic() > deadline.all:
            result["left_out"].append(case.name)
            continue
        sys.stderr.write(f"{case.name}\n")
        result["cases"].append(measure_case(case, options.device, options.quick, deadline))
    if not result["cases"]:
        sys.exit("nothing was measured")
    figure = stem.with_suffix(".png")
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    stem.with_suffix(".md").write_text(report.render(result))
    report.draw(result, figure)
    if options.doc:
        write_into(
            options.doc, report.BEGIN, report.END, report.whole(result, os.path.relpath(figure, options.doc.parent))
        )
    if options.readme:
        write_into(options.readme, report.BEGIN, report.END, report.summary(result))
    sys.stdout.write(report.render(result))
    rows = [row for case in result["cases"] for row in case["rows"].values()]
    return int(bool(result["left_out"]) or any("failed" in row for row in rows))
