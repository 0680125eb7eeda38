"""``python -m benchmarks``: measures, writes <machine>-<date>.json and .md, and prints the table.

``penalty`` times gpgan's operations, ``critic_step`` whole critic steps (and draws a figure), ``loop`` what the trainer adds
to its steps.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import machine, table

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("penalty", "critic_step", "loop"), default="penalty")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for the files")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few rounds, to check that everything runs")
    parser.add_argument("--memory", choices=("kept", "fresh"), default="kept", help="whether malloc keeps freed memory")
    parser.add_argument("--deadline", type=float, metavar="SECONDS", help="leave out rows that would start later")
    parser.add_argument(
        "-k",
        dest="only",
        metavar="EXPRESSION",
        help="select rows by name, as in pytest; of critic_step, the critics whose name contains it",
    )
    parser.add_argument("--doc", type=Path, help="document to write critic_step's tables into")
    parser.add_argument("--readme", type=Path, help="document to write critic_step's summary into")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; use --device cpu")

    given = [] if options.what == "penalty" else [options.what]
    given += [f"--device {options.device}"]
    given += ["--quick"] if options.quick else []
    given += [f"--memory {options.memory}"] if options.memory != "kept" else []
    given += [f"--deadline {options.deadline:g}"] if options.deadline else []
    given += [f"-k '{options.only}'"] if options.only else []
    options.output.mkdir(parents=True, exist_ok=True)
    if options.what == "critic_step":
        from benchmarks.critic_step import command  # needs matplotlib, which the penalty's table does not

        return command.main(options, " ".join(given))
    if options.what == "loop":
        from benchmarks import loop  # needs the trainer's packages

        return loop.main(options, " ".join(given))
    result = options.output / f"{machine.slug(options.device)}-{datetime.date.today()}.json"
    arguments = [
        str(HERE / "bench_penalty.py"),
        "-q",
        "-rfEs",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore::DeprecationWarning",  # torch.compile's own
        "--benchmark-quiet",
        f"--benchmark-json={result}",
        f"--device={options.device}",
        f"--memory={options.memory}",
        f"--command=python -m benchmarks {' '.join(given)}",
        *(["--quick"] if options.quick else []),
        *([f"--deadline={options.deadline}"] if options.deadline else []),
        *([f"-k={options.only}"] if options.only else []),
    ]
    status = int(pytest.main(arguments))
    if not result.exists() or not result.stat().st_size:
        sys.exit("nothing was measured")
    page = table.render(json.loads(result.read_text()))
    result.with_suffix(".md").write_text(page)
    sys.stdout.write(page)
    return status


if __name__ == "__main__":
    sys.exit(main())
