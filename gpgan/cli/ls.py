"""``gpgan ls``."""

from __future__ import annotations

import json
import re
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpgan.cli import complain
from gpgan.cli.arguments import Parser
from gpgan.util.errors import reason
from gpgan.util.words import duration, shown

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
        runs = [_run(folder) for folder in sorted(given.dir.glob("[!.]*")) if _is_run(folder)]
    except (ValueError, OSError) as error:
        return complain(reason(error))
    if not runs:
        sys.stdout.write(f"no runs in {shown(given.dir)}\n")
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


def _is_run(folder: Path) -> bool:
    try:
        return stat.S_ISREG((folder / "config.json").stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it may not be looked into
        return True


def _run(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """A run's name, data, step and age; and the numbers that its task shows in columns, by column head."""
    try:
        settings = json.loads((folder / "config.json").read_text("utf-8"))
        data, steps = Path(settings["config"]["data"]).name, int(settings["config"]["steps"])
        numbers = settings.get("numbers", BEFORE_TASKS).items()
        columns = {shown(number["column"]): name for name, number in numbers if number["column"]}
        path = folder / "stats.jsonl"
        last = last_line(path)
        step = max(int(last.get("step", 0)), _resumed_at(folder / "log.txt"))
        changed = (path if path.exists() else folder).stat().st_mtime
    # Whatever the file of one run holds, the others are listed.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return [shown(folder.name), "config.json cannot be read", "", ""], {}
    cells = [shown(folder.name), shown(data), f"{step}/{steps}", duration(time.time() - changed)]
    return cells, {column: last.get(name) for column, name in columns.items()}


# The columns of runs from before there were tasks, whose config.json does not name them.
BEFORE_TASKS = {
    name: {"column": column}
    for name, column in (("estimate", "estimate"), ("held_out", "held out"), ("norm_mean", "|grad|"))
}


def last_line(path: Path) -> dict[str, Any]:
    """The last complete line of a stats.jsonl; {} if there is none."""
    for line in reversed(_end(path).splitlines()):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _resumed_at(log: Path) -> int:
    """The step at which a run was last resumed; it may have no statistics since."""
    return int([b"0", *re.findall(rb"  resumed at step (\d{1,18}),", _end(log))][-1])


def _end(path: Path) -> bytes:
    """The last bytes of a file; none if it is not a regular file."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        return file.read()


def _number(value: Any) -> str:
    try:
        return f"{value:.3f}" if isinstance(value, int | float) else "-"
    except OverflowError:  # a whole number beyond any float
        return "-"
