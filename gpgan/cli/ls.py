"""``gpgan ls``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpgan.cli import complain
from gpgan.cli.arguments import Parser

DESCRIPTION = """\
List the runs in DIR with their step, their age, and their latest statistics.

Examples:
  gpgan ls
  gpgan ls /data/runs
"""


def run(arguments: Sequence[str]) -> int:
    """Prints a table of runs; returns 0, or 2 if there is no such folder."""
    parser = Parser("gpgan ls", DESCRIPTION)
    parser.add_argument("dir", nargs="?", type=Path, default=Path("runs"), metavar="DIR", help="the folder (runs)")
    try:
        given = parser.given(arguments)
        if not given.dir.is_dir():
            raise ValueError(f"{given.dir} is not a folder; expected a folder of runs, the --out of gpgan train")
        runs = [_run(folder) for folder in sorted(given.dir.glob("[!.]*")) if (folder / "config.json").is_file()]
    except (ValueError, OSError) as error:
        return complain(str(error))
    if not runs:
        sys.stdout.write(f"no runs in {given.dir}\n")
        return 0
    columns = list(dict.fromkeys(column for _, numbers in runs for column in numbers))
    rows = [["run", "data", "step", "age", *columns]]
    rows += [
        [*cells, *(_number(numbers.get(column)) if numbers else "" for column in columns)] for cells, numbers in runs
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
    return 0


def _run(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """A run's name, data, step and age; and the numbers that its task shows in columns, by column head."""
    try:
        settings = json.loads((folder / "config.json").read_text("utf-8"))
        config = settings["config"]
        data, steps = Path(config["data"]).name, config["steps"]
        columns = {
            number["column"]: name for name, number in settings.get("numbers", BEFORE_TASKS).items() if number["column"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [folder.name, "config.json cannot be read", "", ""], {}
    path = folder / "stats.jsonl"
    last = last_line(path)
    changed = (path if path.exists() else folder).stat().st_mtime
    cells = [folder.name, data, f"{last.get('step', 0)}/{steps}", _age(time.time() - changed)]
    return cells, {column: last.get(name) for column, name in columns.items()}


# The columns of runs from before there were tasks, whose config.json does not name them.
BEFORE_TASKS = {
    name: {"column": column}
    for name, column in (("estimate", "estimate"), ("held_out", "held out"), ("norm_mean", "|grad|"))
}


def last_line(path: Path) -> dict[str, Any]:
    """The last complete line of a stats.jsonl; {} if there is none."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        for line in reversed(file.read().splitlines()):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    return {}


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
