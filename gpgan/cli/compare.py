"""``gpgan compare``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpgan.cli import complain
from gpgan.cli.arguments import Parser
from gpgan.cli.eval import number
from gpgan.metrics.registry import METRICS, cheap_names
from gpgan.records.comparison import draw_comparison
from gpgan.records.evaluations import evaluations
from gpgan.util.errors import reason
from gpgan.util.words import shown

DESCRIPTION = """\
Compare runs by their last gpgan eval: one table, and one plot of the quality during training against
CPU time and images. The evaluations must be of equally many samples, by the same features, against the
same data.

Examples:
  gpgan compare runs/a runs/b
  gpgan compare runs/* --metrics kd,coverage --out compared.png
"""
# What evaluations must share: names in a line of metrics.jsonl.
SHARED = {"n": "samples of each set", "network": "feature network", "data": "data", "part": "part of the data"}


def run(arguments: Sequence[str]) -> int:
    """Prints the table and writes the plot; returns 0, or 2 on bad input."""
    parser = Parser("gpgan compare", DESCRIPTION)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of runs that have been evaluated")
    parser.add_argument("--metrics", metavar="A,B", help="names of metrics (all that every run has)")
    parser.add_argument("--out", type=Path, default=Path("compare.png"), metavar="FILE", help="the plot (compare.png)")
    parser.add_argument("--json", action="store_true", help="print a last line of JSON with the table")
    try:
        given = parser.given(arguments)
        if len(given.runs) < 2:
            raise ValueError(f"{len(given.runs)} runs are given; expected two or more: gpgan ls lists them")
        names = {run: _title(run, given.runs) for run in given.runs}
        last = {names[run]: _evaluation(run) for run in given.runs}
        _check(last)
        common = [name for name in METRICS if all(name in line["metrics"] for line in last.values())]
        asked = [name.strip() for name in given.metrics.split(",")] if given.metrics else common
        for name in asked:
            if name not in common:
                raise ValueError(f"metrics has {name!r}; expected metrics that every run has: {', '.join(common)}")
        first = cheap_names(next(iter(last.values()))["kind"])[0]
        floor = next(iter(last.values()))["metrics"].get(first, {}).get("floor")
        folders = {title: run for run, title in names.items()}
        drawn = draw_comparison(given.out, folders, first, METRICS[first].label, floor)
    except (ValueError, OSError) as error:
        return complain(reason(error))
    _tell(last, asked)
    if drawn:
        sys.stdout.write(f"{METRICS[first].label} during training: {shown(given.out)}\n")
    else:
        sys.stdout.write("no plot: none of these runs was evaluated during training (gpgan train --eval N)\n")
    if given.json:
        sys.stdout.write(json.dumps(last) + "\n")
    return 0


def _title(run: Path, runs: Sequence[Path]) -> str:
    """The run's folder name, or its path where two have the same name."""
    return run.name if sum(other.name == run.name for other in runs) == 1 else str(run)


def _evaluation(run: Path) -> dict[str, Any]:
    lines = [line for line in evaluations(run) if line.get("part") == "report"]
    if not lines:
        raise ValueError(f"{run} has not been evaluated; expected a run with metrics.jsonl: gpgan eval {run}")
    return lines[-1]


def _check(last: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ValueError if the evaluations cannot be compared."""
    (first, line), *others = last.items()
    for title, other in others:
        for name, words in SHARED.items():
            mine, its = line.get(name), other.get(name)
            if mine != its:
                raise ValueError(
                    f"the {words} of {first} is {mine} and of {title} {its}; expected the same: run gpgan eval again on one "
                    "of them"
                )


def _tell(last: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> None:
    line = next(iter(last.values()))
    floors = [line["metrics"][name]["floor"] for name in names]
    rows = [["run", "step", "CPU s", "images", *names]]
    for title, each in last.items():
        cost = [
            f"{each[name]:.0f}" if each.get(name) is not None else "-" for name in ("step", "cpu_seconds", "images")
        ]
        rows.append([title, *cost, *(number(each["metrics"][name]["score"]) for name in names)])
    rows.append(["real samples", "", "", "", *("-" if floor is None else number(floor) for floor in floors)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write(shown("  ".join(cells).rstrip()) + "\n")
    sys.stdout.write(f"n {line['n']}, {line['network'].partition(' ')[0]}\n")
