"""``gpgan lab``."""

from __future__ import annotations

import contextlib
import io
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

import gpgan
from gpgan.cli import complain
from gpgan.cli.arguments import Parser
from gpgan.labs import LABS, load
from gpgan.util.errors import first_line
from gpgan.util.files import replacing, write_json
from gpgan.util.threads import cpu_threads
from gpgan.util.words import shown

if TYPE_CHECKING:
    from gpgan.labs.lab import Findings, Progress

DESCRIPTION = """\
Demonstrates the theory of adversarial training: a picture and its numbers per lab, in less than a minute each.
NAME is one of

{labs}

Examples:
  gpgan lab divergences                  writes labs/divergences.png and labs/divergences.json
  gpgan lab --all --out theory           runs every lab, and writes one page: theory/labs.html
"""
# The resolution of the pictures in pixels per inch.
DPI = 120


def run(arguments: Sequence[str]) -> int:
    """Runs labs and writes their findings. Returns 0, 1 if one fails or they cannot be written, or 2 on bad input."""
    labs = "\n".join(f"  {name:<17} {what}" for name, what in LABS.items())
    parser = Parser("gpgan lab", DESCRIPTION.format(labs=labs))
    parser.add_argument("name", nargs="?", metavar="NAME", help="the lab to run")
    parser.add_argument("--all", action="store_true", help="run every lab and write labs.html, one page for all")
    parser.add_argument("--out", type=Path, default=Path("labs"), metavar="DIR", help="folder to write to (labs)")
    try:
        given = parser.given(arguments)
        if given.name is None and not given.all:
            sys.stdout.write(parser.format_help())
            return 0
        if given.name is not None and given.all:
            raise ValueError(f"NAME is {given.name!r} and --all is given; expected one of the two")
        modules = {name: load(name) for name in (LABS if given.all else [given.name])}
        _make(given.out)
    except ValueError as error:
        return complain(str(error))
    results = {}
    status = 0
    try:
        for name, module in modules.items():
            try:
                results[name] = _run(name, module, given.out)
            except (ArithmeticError, ValueError, RuntimeError) as error:  # e.g. training that diverged
                others = "; the other labs are run" if given.all else ""
                status = complain(f"the lab {name} failed ({first_line(error)}){others}", status=1)
        if given.all:
            from gpgan.labs.page import write_page

            sys.stdout.write(f"all on one page: {shown(write_page(given.out, results))}\n")
    except OSError as error:
        return complain(f"{error}: the findings could not be written to {given.out}", status=1)
    return status


def _make(out: Path) -> None:
    """Makes the folder and checks, before anything is computed, that files can be created in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(
            f"--out is {out}, which cannot be written to ({first_line(error)}); expected a folder that can be written to"
        ) from error


def _run(name: str, module: ModuleType, out: Path) -> Findings:
    begun = time.monotonic()
    # The networks are small: more threads would slow them down, and change the last digits.
    with _progress(name) as progress, cpu_threads(1):
        findings: Findings = module.run(progress)
        picture = io.BytesIO()
        findings.figure.savefig(picture, format="png", dpi=DPI)
    about = {
        "title": module.TITLE,
        "seconds": round(time.monotonic() - begun, 1),
        "versions": {
            "gpgan": gpgan.__version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    image, numbers = out / f"{name}.png", out / f"{name}.json"
    with replacing(image) as file:
        file.write(picture.getvalue())
    write_json(numbers, {"lab": name, **findings.numbers, "about": about})
    sys.stdout.write("\n".join([f"{name}: {module.TITLE}", *(f"  {line}" for line in findings.see)]))
    sys.stdout.write(f"\n  {shown(image)}\n  {shown(numbers)}\n")
    sys.stdout.flush()
    return findings


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Progress]:
    """A function of (share, what is being done) that shows a bar on a terminal; the bar disappears at the end."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield lambda share, what: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=f"{name}: {what}")
