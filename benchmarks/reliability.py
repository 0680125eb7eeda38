"""The long run of the fuzzers in tests/fuzz: ``python -m benchmarks.reliability``, told in docs/reliability.md.

python -m benchmarks.reliability                  all of them, about 20 minutes
python -m benchmarks.reliability kills bit_flips  some; the others' rows stay
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.documents import write_into

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- reliability: written by python -m benchmarks.reliability -->", "<!-- reliability: end -->"
# The fuzzers, and what their cases are.
TRIED = {
    "kills": "kills (SIGKILL) of a training run at random moments, each continued by `gpgan resume`",
    "bit_flips": "single bits flipped in checkpoints and other files of a run",
    "hostile_calls": "hostile calls of the operators and `gradient_penalty`",
    "file_mutants": "damaged or forged data files, settings and runs",
    "configurations": "random options of `gpgan train`",
    "many_threads": "`CriticStep` and `gradient_penalty` in 20 threads at once",
    "two_trainers": "runs that other processes resume, evaluate, sample and list while they train",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TRIED)}")
    parser.add_argument("--counts", type=Path, default=ROOT / "build" / "fuzz", help="folder of the fuzzers' counts")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the numbers")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in TRIED]:
        parser.error(f"{unknown[0]!r} is not a fuzzer; expected {', '.join(TRIED)}")
    names = options.names or list(TRIED)
    shutil.rmtree(options.counts, ignore_errors=True)
    failed = fuzz(names, options.counts)
    numbers = options.output / "reliability.json"
    rows = json.loads(numbers.read_text("utf-8"))["rows"] if numbers.exists() else {}
    for name in names:
        counts = options.counts / f"test_{name}.json"
        if counts.exists():
            rows[name] = {**json.loads(counts.read_text("utf-8")), "date": str(datetime.date.today())}
    about = machine.describe("cpu", "make fuzz")
    rows = {name: rows[name] for name in TRIED if name in rows}
    numbers.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n", "utf-8")
    write_into(options.docs / "reliability.md", BEGIN, END, table(rows))
    return failed


def fuzz(names: list[str], counts: Path) -> int:
    """Runs fuzzers with all their cases; returns 0 if none found a fault."""
    files = [str(ROOT / "tests" / "fuzz" / f"test_{name}.py") for name in names]
    environment = {**os.environ, "GPGAN_FUZZ": str(counts.resolve()), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *files], cwd=ROOT, env=environment).returncode


def table(rows: dict[str, Any]) -> str:
    head = "| tried | cases | how they ended | repeated by |\n| --- | ---: | --- | --- |\n"
    return head + "".join(
        f"| {TRIED[name]} | {row['tried']} | "
        f"{'; '.join(f'{count} {outcome}' for outcome, count in row['outcomes'].items())} | "
        f"[tests/fuzz/test_{name}.py](../tests/fuzz/test_{name}.py) |\n"
        for name, row in rows.items()
    )


if __name__ == "__main__":
    sys.exit(main())
