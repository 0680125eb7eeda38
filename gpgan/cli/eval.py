"""``gpgan eval``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from gpgan.cli import complain
from gpgan.cli.arguments import Parser
from gpgan.data import Dataset
from gpgan.metrics.registry import measure, rows
from gpgan.records.report import write_report
from gpgan.training.saved import Saved, open_run
from gpgan.util.errors import reason
from gpgan.util.files import write_json
from gpgan.util.words import shown

DESCRIPTION = """\
Evaluate RUN, a run's folder, against its data: for generation the exact Wasserstein-1 distance, the
critic's gradient norm and, for mixtures, mode coverage; for super-resolution PSNR, SSIM and detail.
The results go to RUN/eval.json and RUN/report.html.

Examples:
  gpgan eval runs/00000-ring
  gpgan eval runs/clothes -n 1000 --json
"""
LARGEST = 10_000


def run(arguments: Sequence[str]) -> int:
    """Computes and writes the metrics; returns 0, or 2 on bad input."""
    parser = Parser("gpgan eval", DESCRIPTION, run=True)
    parser.add_argument(
        "-n", type=int, default=2500, metavar="N", help="generated samples, and at most as many real ones (2500)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the samples (0)")
    parser.add_argument("--json", action="store_true", help="print a last line of JSON with the metrics")
    try:
        given = parser.given(arguments)
        if not 2 <= given.n <= LARGEST:
            raise ValueError(f"n is {given.n}; expected a whole number from 2 to {LARGEST}")
        if not 0 <= given.seed < 2**63:
            raise ValueError(f"seed is {given.seed}; expected a whole number from 0 to {2**63 - 1}")
        saved = open_run(given.run, given.trust_code)
        metrics = measure_run(saved, saved.dataset(), given.n, given.seed)
        write_json(saved.run / "eval.json", metrics)
        write_report(saved.run)
    except (ValueError, OSError) as error:
        return complain(reason(error))
    for problem in saved.problems:
        sys.stderr.write(f"gpgan: {shown(problem)}; an older checkpoint is used\n")
    _tell(metrics)
    if given.json:
        sys.stdout.write(json.dumps({"run": str(given.run.resolve()), **metrics}) + "\n")
    return 0


def measure_run(saved: Saved, dataset: Dataset, count: int, seed: int) -> dict[str, Any]:
    """The metrics of a run, by name; distances are in the units that networks see: -1 to 1 for images.

    Raises:
        ValueError: The samples are not finite.
    """
    task = saved.task
    evaluation = task.evaluation(dataset, count, seed)
    return {
        "step": saved.state["step"],
        "samples": len(evaluation.samples),
        "reals": len(evaluation.reals),
        "reals_held_out": evaluation.held_out,
        **measure(evaluation),
    }


def _tell(metrics: dict[str, Any]) -> None:
    for name, value in [("step", f"{metrics['step']}"), *rows(metrics)]:
        sys.stdout.write(f"{name:<14} {value}\n")
