"""``python -m benchmarks.toy``: trains the table's missing runs, and writes results/toy-<date>.json and .md after each.

Finished runs are kept in --runs: after an interruption the same command does only what is left.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.documents import write_into
from benchmarks.toy import run, settings, table
from benchmarks.toy.protocol import DATA, load_scaled, score_real

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.toy", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("build/toy"), help="folder for the numbers of finished runs")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results", help="folder for the table")
    parser.add_argument("--presets", nargs="+", choices=settings.SEEDS, default=list(settings.SEEDS), metavar="NAME")
    parser.add_argument(
        "--steps", type=int, default=0, help="generator steps of each run, for a quick check; 0: as the table has them"
    )
    parser.add_argument("--readme", type=Path, help="document to write the finished table's summary into")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    jobs = [job for job in run.jobs(options.steps) if job.preset in options.presets]
    real = {data: score_real(load_scaled(data)) for data in DATA}
    records: list[dict[str, Any]] = []
    command = shlex.join(["python", "-m", "benchmarks.toy", *(sys.argv[1:] if arguments is None else arguments)])
    begun, date = time.monotonic(), datetime.date.today()
    stem = options.output / f"toy-{date}"
    try:
        for record in run.run(jobs, options.runs):
            records.append(record)
            _write(stem, str(date), command, records, real, len(jobs))
            sys.stderr.write(
                f"{len(records)} of {len(jobs)}, {(time.monotonic() - begun) / 60:.0f} min: {record['data']} "
                f"{record['preset']} seed {record['seed']}: {record['captured']} modes, "
                f"{100 * record['high_quality']:.1f} % in {record['seconds']:.0f} s\n"
            )
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted: {len(records)} of {len(jobs)} runs are done; the same command continues\n")
        return 130
    if options.readme:
        result = json.loads(stem.with_suffix(".json").read_text("utf-8"))
        write_into(options.readme, table.BEGIN, table.END, table.summary(result, f"{stem.name}.md"))
    sys.stdout.write(stem.with_suffix(".md").read_text("utf-8"))
    return 0


def _write(
    stem: Path, date: str, command: str, records: list[dict[str, Any]], real: dict[str, Any], planned: int
) -> None:
    result = {
        "kind": "toy",
        "date": date,
        "machine": machine.describe("cpu", command),
        "done": len(records),
        "planned": planned,
        "rows": table.summarise(records, real),
        "runs": sorted(records, key=lambda record: (record["preset"], record["data"], record["seed"])),
    }
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    stem.with_suffix(".md").write_text(table.render(result), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
