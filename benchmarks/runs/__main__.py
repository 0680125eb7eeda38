"""``python -m benchmarks.runs [TABLE ...]``: trains what is missing of the tables, and writes results, figures and documents.

python -m benchmarks.runs                    all tables; after an interruption it continues
python -m benchmarks.runs presets lazy       some
python -m benchmarks.runs presets --device cuda --scale full
python -m benchmarks.runs presets --again    repeats runs that were trained beside other work
python -m benchmarks.runs --plan             only says what each table costs
python -m benchmarks.runs --documents        only writes the documents' tables and figures from committed results
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks import blocks
from benchmarks.runs import text
from benchmarks.runs.plan import CORES, Record, Table, slug
from benchmarks.runs.run import ROOT, LoadedError, Runner, check_load
from benchmarks.runs.tables import TABLES
from gpgan.util.files import write_json

IMAGES = Path("docs") / "images" / "runs"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}")
    parser.add_argument("--scale", choices=("small", "full"), default="small", help="full: ten times the training")
    parser.add_argument("--smoke", action="store_true", help="seconds on small data, to check that everything runs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--again", action="store_true", help="repeat runs that were trained beside other work")
    parser.add_argument("--plan", action="store_true", help="only say what each table costs")
    parser.add_argument("--documents", action="store_true", help="only write the documents from committed results")
    parser.add_argument("--runs", type=Path, default=ROOT / "build" / "runs", help="folder of the runs")
    parser.add_argument("--results", type=Path, default=blocks.RESULTS, help="folder of the results")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of README.md and docs/")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.tables if name not in TABLES]:
        parser.error(f"{unknown[0]!r} is not a table; expected {', '.join(TABLES)}")
    names = given.tables or list(TABLES)
    if given.documents:
        write_documents(given.root, given.results)
        return 0
    scale = "smoke" if given.smoke else given.scale
    for name in names if scale != "smoke" else ():
        minutes = TABLES[name].scaled(scale).minutes()
        sys.stderr.write(f"{name}: {minutes:.0f} minutes planned on each of {CORES} cores\n")
    refused = 0
    for name in names if not given.plan else ():
        table = TABLES[name].scaled(scale)
        runner = Runner(table, scale, given.device, given.runs / scale / name)
        try:
            if given.again:
                runner.again()
            runner.run()
        except KeyboardInterrupt:
            sys.stderr.write("interrupted: the same command continues\n")
            return 130
        except RuntimeError as error:
            sys.stderr.write(f"{error}; the same command continues\n")
            return 1
        result = runner.result()
        try:
            if scale != "smoke":
                check_load(result)
        except LoadedError as error:
            sys.stderr.write(f"not published: {error}\n")
            refused = 1
            continue
        publish(table, result, runner, given.root, given.results)
    return refused


def publish(table: Table, result: Record, runner: Runner, root: Path, results: Path) -> None:
    """Writes the result, the pictures of runs, and the documents; a smoke run stays in its own folder."""
    smoke = result["scale"] == "smoke"
    images = (runner.folder if smoke else root) / IMAGES
    result["pictures"] = copy_pictures(table, result, runner.folder, images)
    if smoke:
        write_json(runner.folder / "result.json", result)
        table.figures(result, images)
        (runner.folder / "docs" / "result.md").write_text(table.text(result), "utf-8")
        return
    path = results / "runs" / table.name / f"{result['scale']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    write_documents(root, results)


def copy_pictures(table: Table, result: Record, folder: Path, images: Path) -> dict[str, list[str]]:
    """Copies the pictures of each method's first run from its newest state; returns their names by method."""
    images.mkdir(parents=True, exist_ok=True)
    copied: dict[str, list[str]] = {}
    for job in table.jobs:
        if job.seed or not table.pictures:
            continue
        newest = max((path for path in (folder / job.name).iterdir() if path.is_dir()), key=lambda path: int(path.name))
        for name in table.pictures:
            if (newest / f"{name}.png").exists():
                target = f"{text.stem(result)}-{slug(job.method)}-{name}.png"
                shutil.copyfile(newest / f"{name}.png", images / target)
                copied.setdefault(job.method, []).append(name)
    return copied


def write_documents(root: Path, results: Path) -> None:
    """Writes every block of the documents, and the figures of the tables, from the results."""
    for name, table in TABLES.items():
        for result in blocks.results_of(name, results):
            table.figures(result, root / IMAGES)
    blocks.write_all(root, results)


if __name__ == "__main__":
    sys.exit(main())
