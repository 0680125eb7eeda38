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
List the runs in DIR: their step, their age, and the last line of their statistics.

Examples:
  gpgan ls
  gpgan ls /data/runs
"""


def run(arguments: Sequence[str]) -> int:
    """Writes a table of runs to stdout; 0, or 2 where there is no such folder."""
    parser = Parser("gpgan ls", DESCRIPTION)
    parser.add_argument("dir", nargs="?", type=Path, default=Path("runs"), metavar="DIR", help="the folder (runs)")
    try:
        given = parser.given(arguments)
        if not given.dir.is_dir():
            raise ValueError(
                f"{given.dir} is no folder; expected one that holds runs, as --out of gpgan train names it"
            )
        rows = [_row(folder) for folder in sorted(given.dir.glob("[!.]*")) if (folder / "config.json").is_file()]
    except (ValueError, OSError) as error:
        return complain(str(error))
    if not rows:
        sys.stdout.write(f"no runs in {given.dir}\n")
        return 0
    rows.insert(0, ("run", "data", "step", "age", "estimate", "held out", "|grad|"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
    return 0


def _row(folder: Path) -> tuple[str, ...]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))["config"]
        data, steps = Path(config["data"]).name, config["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return (folder.name, "config.json cannot be read", "", "", "", "", "")
    path = folder / "stats.jsonl"
    last = last_line(path)
    changed = (path if path.exists() else folder).stat().st_mtime
    step = f"{last.get('step', 0)}/{steps}"
    return (folder.name, data, step, _age(time.time() - changed), *(_number(last.get(n)) for n in METRICS))


METRICS = ("estimate", "held_out", "norm_mean")


def last_line(path: Path) -> dict[str, Any]:
    """The last whole line of a stats.jsonl; {} where there is none."""
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
