"""``gpgan eval``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpgan.cli import complain
from gpgan.cli.arguments import Parser, add_best
from gpgan.cli.progress import stages
from gpgan.cli.sets import aligned, fake_set, formats, real_set
from gpgan.data import Dataset
from gpgan.metrics.evaluate import ALL, as_json
from gpgan.metrics.metric import Generated, Result
from gpgan.metrics.quality import compared_by, quality
from gpgan.metrics.reals import Compared, Reals, report_part
from gpgan.metrics.registry import METRICS, default_names
from gpgan.metrics.sample_set import SampleSet
from gpgan.records.evaluations import add_evaluation, at_step, draw_neighbours
from gpgan.records.report import write_report
from gpgan.training.saved import open_run
from gpgan.util.errors import first_line, reason
from gpgan.util.words import shown

DESCRIPTION = f"""\
Measure the quality of RUN, a run's folder, or of any samples (--fake) against real ones (--real): each
score beside its floor, which is what fresh real samples score. RUN gets metrics.jsonl, neighbours.png
and report.html, another comparison only with --out.

Examples:
  gpgan eval runs/clothes
  gpgan eval runs/clothes -n 10000 --metrics kd,coverage
  gpgan eval --real photos/ --fake generated/ --json
  gpgan eval --real fashion --fake samples.npy --out compared

Metrics (docs/metrics.md says what each means and what fools it):
  {", ".join(list(METRICS)[:12])},
  {", ".join(list(METRICS)[12:])}
"""
DEFAULT, LARGEST = 2500, 60_000
# The metric for which the training samples are searched.
COPIES = "copied_share"


def run(arguments: Sequence[str]) -> int:
    """Computes and writes the metrics; returns 0, or 2 on bad input."""
    parser = Parser("gpgan eval", DESCRIPTION, run=True, optional=True)
    parser.add_argument("--real", metavar="DATA", help="real samples: a run, or what gpgan train takes as DATA")
    parser.add_argument("--fake", metavar="DATA", help="generated samples: a run, a folder of images, an array")
    parser.add_argument("--metrics", metavar="A,B", help=f"names of metrics, or {ALL} (those for this kind of data)")
    parser.add_argument(
        "--features",
        default="",
        metavar="NAME",
        help="lite0, fashion, digits, speech, inception, raw, or module:attribute",
    )
    parser.add_argument("--inception-weights", type=Path, metavar="FILE", help="for --features inception")
    parser.add_argument("-n", type=int, metavar="N", help=f"samples of each set ({DEFAULT}, or as many as there are)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the samples (0)")
    parser.add_argument("--device", default="cpu", metavar="D", help="where the feature network runs: cpu, cuda (cpu)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the files of --real and --fake")
    parser.add_argument("--json", action="store_true", help="print a last line of JSON: each metric's score, floor, n")
    add_best(parser)
    try:
        given = parser.given(arguments)
        if given.n is not None and not 2 <= given.n <= LARGEST:
            raise ValueError(f"n is {given.n}; expected a whole number from 2 to {LARGEST}")
        if not 0 <= given.seed < 2**63:
            raise ValueError(f"seed is {given.seed}; expected a whole number from 0 to {2**63 - 1}")
        _check(given)
        with stages() as progress:
            evaluated = evaluate_run(given, progress) if given.run else evaluate_sets(given, progress)
    except (ValueError, OSError) as error:
        return complain(reason(error))
    for problem in evaluated.problems:
        sys.stderr.write(f"gpgan: {shown(problem)}\n")
    tell(evaluated.results)
    if given.json:
        sys.stdout.write(json.dumps(as_json(evaluated.results)) + "\n")
    return 0


@dataclass(frozen=True)
class Evaluated:
    """Results by metric, and what went wrong or should be known, one line per item."""

    results: dict[str, Result]
    problems: list[str]


def _check(given: argparse.Namespace) -> None:
    if (given.run is None) != bool(given.real and given.fake) or (given.run and (given.real or given.fake)):
        raise ValueError(
            f"RUN is {given.run}, real {given.real} and fake {given.fake}; expected a run's folder, or both --real and --fake"
        )
    if given.run and given.out:
        raise ValueError(
            f"out is {given.out} and RUN {given.run}; expected no --out: a run's own folder gets the files"
        )
    try:
        torch.empty(0, device=given.device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device is {given.device!r}, which this torch cannot use ({first_line(error)}); expected cpu or cuda"
        ) from error


def evaluate_run(given: argparse.Namespace, progress: Any = lambda what, done, count: None) -> Evaluated:
    """Compares samples of a run with its data, and writes metrics.jsonl, neighbours.png and report.html.

    Raises:
        ValueError, OSError: The run cannot be read, its samples are not finite, or a metric does not apply.
    """
    saved = open_run(given.run, given.trust_code, best=given.best)
    dataset = saved.dataset()
    generated = saved.task.generated(dataset, given.n or DEFAULT, given.seed)
    restored = generated.truths is not None
    # Restored images are compared with their truths, for which no features are needed.
    by = _compared(given, dataset, progress, "raw" if restored and not given.metrics else "")
    reals = report_part(dataset, len(generated.samples), given.seed, by)
    made = by.set_of("generated samples", generated.samples[: len(reals.real)])
    names = _names(given.metrics) or default_names(dataset.kind.name, restored)
    results = quality(made, generated, dataset, reals, by, names, strict=bool(given.metrics), seed=given.seed)
    step = saved.state["step"]
    about = {
        "step": step,
        "seed": given.seed,
        "best": given.best,
        "held_out": reals.held_out,
        **at_step(saved.run, step),
    }
    _record(saved.run, about, by, dataset, made, reals, results)
    older = [f"{problem}; an older checkpoint is used" for problem in saved.problems]
    return Evaluated(results, [*older, *by.notes(), *_few(given.n, len(reals.real))])


def evaluate_sets(given: argparse.Namespace, progress: Any = lambda what, done, count: None) -> Evaluated:
    """Compares two sets of samples; with ``--out`` it writes the same files as for a run.

    Raises:
        ValueError, OSError: They cannot be read or compared.
    """
    real = real_set(given.real, given.trust_code)
    fake = fake_set(given.fake, given.trust_code, given.n or DEFAULT, given.seed)
    samples, notes = aligned(real, fake)
    n = min(given.n or DEFAULT, len(samples))
    by = _compared(given, real, progress)
    reals = report_part(real, n, given.seed, by, exactly=given.n is not None)
    generated = Generated(samples[: len(reals.real)])
    made = by.set_of("generated samples", generated.samples)
    names = _names(given.metrics) or default_names(real.kind.name, False)
    results = quality(made, generated, real, reals, by, names, strict=bool(given.metrics), seed=given.seed)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        about = {"real": given.real, "fake": given.fake, "seed": given.seed}
        _record(given.out, about, by, real, made, reals, results)
    notes += formats(given.real, given.fake)
    return Evaluated(results, [*notes, *by.notes(), *_few(given.n, len(reals.real))])


def _compared(given: argparse.Namespace, dataset: Dataset, progress: Any, features: str = "") -> Compared:
    return compared_by(
        dataset,
        given.features or features,
        device=given.device,
        inception_weights=given.inception_weights,
        progress=progress,
    )


def _names(text: str | None) -> list[str]:
    return [] if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _few(asked: int | None, n: int) -> list[str]:
    return [f"n is {asked} and only {n} samples of each set can be compared"] if asked is not None and n < asked else []


def _record(
    folder: Path,
    about: Mapping[str, Any],
    by: Compared,
    dataset: Dataset,
    made: SampleSet,
    reals: Reals,
    results: Mapping[str, Result],
) -> None:
    """Writes the line of metrics.jsonl, the page, and the nearest neighbours if the training samples were searched."""
    line = {
        **about,
        "part": "report",
        "n": len(made),
        "kind": dataset.kind.name,
        "data": dataset.fingerprint(),
        "network": f"{by.network.name} {by.network.identity}",
        "about": by.network.about,
        "metrics": as_json(results),
    }
    add_evaluation(folder, line)
    if COPIES in results:
        draw_neighbours(folder, made, reals.training)
    write_report(folder)


def tell(results: Mapping[str, Result]) -> None:
    """Prints a table of results."""
    rows = [["metric", "score", "real samples score", "n", ""]]
    for name, each in results.items():
        rows.append([METRICS[name].label, number(each.score), floor(each), f"{each.n}", each.place])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    for name, each in results.items():
        if each.note:
            sys.stdout.write(f"{name}: {each.note}\n")


def number(value: float | None) -> str:
    """Four significant digits."""
    return "none" if value is None else f"{value:.4g}"


def floor(result: Result) -> str:
    """The floor with its deviation."""
    if result.floor is None:
        return "-"
    return number(result.floor) + ("" if result.deviation is None else f" +- {result.deviation:.2g}")
