"""Missing-wedge restoration from simulation to score, by commands alone: ``python -m benchmarks.wedge``.

python -m benchmarks.wedge                 every case and seed, a core each; after an interruption it continues
python -m benchmarks.wedge cryowgen        some cases
python -m benchmarks.wedge --smoke         seconds, to check that everything runs
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import queue
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.command import gpgan
from benchmarks.wedge.cases import CASES, Case
from benchmarks.wedge.control import write_fields
from gpgan.data.star import read_star
from gpgan.util.files import write_json

ROOT = Path(__file__).parents[2]
TILT = ("--tilt", "-60", "60")
PICTURES = ("samples.png", "curves.png", "fsc.png")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wedge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--seeds", type=int, default=3, help="number of runs of each")
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--runs", type=Path, default=ROOT / "build" / "wedge", help="folder of the runs")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the numbers")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of docs/")
    given = parser.parse_args()
    for name in given.cases:
        if name not in CASES:
            parser.error(f"{name!r} is not a case; expected {', '.join(CASES)}")
    chosen = [CASES[name] for name in given.cases or CASES]
    folder = given.runs / ("smoke" if given.smoke else "full")
    jobs = [(case, seed) for seed in range(given.seeds) for case in chosen]
    each_on_a_core(jobs, lambda case, seed: run(case, seed, folder, given.smoke))
    if given.smoke:
        return 0
    date = str(datetime.date.today())
    found = [
        {"case": case.name, "seed": seed, **json.loads((place(folder, case, seed) / "scores.json").read_text("utf-8"))}
        for case, seed in jobs
    ]
    result = {"machine": machine.describe("cpu", "python -m benchmarks.wedge"), "date": date, "runs": found}
    given.results.mkdir(parents=True, exist_ok=True)
    write_json(given.results / f"{machine.slug('cpu')}-wedge-{date}.json", result)
    pictures = given.root / "docs" / "images" / "wedge"
    pictures.mkdir(parents=True, exist_ok=True)
    for case in chosen:
        for name in PICTURES:
            source = place(folder, case, 0) / "run" / name
            if source.exists():
                shutil.copyfile(source, pictures / f"{case.name}-{name}")
    return 0


def each_on_a_core(jobs: list[tuple[Case, int]], work: Any) -> None:
    """Does the jobs, as many at once as there are cores, each in a thread that keeps to its core."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]
    free: queue.Queue[int] = queue.Queue()
    for core in cores:
        free.put(core)

    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {free.get()})

    with ThreadPoolExecutor(len(cores), initializer=pin) as pool:
        for done in [pool.submit(work, *job) for job in jobs]:
            done.result()


def place(folder: Path, case: Case, seed: int) -> Path:
    return folder / f"{case.name}-{seed}"


def run(case: Case, seed: int, folder: Path, smoke: bool) -> None:
    """Simulates, fits and measures, unless that is done."""
    own = place(folder, case, seed)
    if (own / "scores.json").exists():
        return
    shutil.rmtree(own, ignore_errors=True)
    sys.stderr.write(f"{case.name}, seed {seed}\n")
    sim, out = own / "sim", own / "run"
    count = "64" if smoke else "568"
    box = ("--box", "16", "--voxel", "26") if smoke else ("--box", "24", "--voxel", "15")
    simulate = (*case.structures, "-n", count, "--snr", f"{case.snr:g}", *box, *TILT, "--seed", str(seed))
    gpgan("wedge", "simulate", *simulate, "--out", str(sim))
    if case.control:
        write_fields(sim, seed)
    limit = ("--steps", "4", "--batch", "8") if smoke else ("--minutes", f"{case.minutes:g}", *case.steps)
    teacher = (
        ("--teacher", str(place(folder, CASES[case.teacher], seed) / "restored" / "volumes")) if case.teacher else ()
    )
    fit = (str(sim / "particles.star"), *case.fit, *TILT, "--truth", str(sim / "truth"), *teacher)
    gpgan("wedge", "fit", *fit, *limit, "--seed", str(seed), "--threads", "1", "--out", str(own), "--name", out.name)
    gpgan("wedge", "eval", str(out))
    gpgan("wedge", "restore", str(out), "--out", str(own / "restored"))
    measured = json.loads((out / "wedge.json").read_text("utf-8"))
    lines = (out / "stats.jsonl").read_text("utf-8").splitlines()
    last = json.loads(lines[-1])
    write_json(
        own / "scores.json",
        {
            "scores": measured["scores"],
            "step": last["step"],
            "cpu_seconds": last["cpu_seconds"],
            "purity": purity(sim / "particles.star", own / "restored" / "restored.star"),
        },
    )


def purity(true: Path, restored: Path) -> float | None:
    """The share of particles in the class that most of their own are in; None without classes."""
    given, found = (read_star(path).columns.get("rlnClassNumber") for path in (true, restored))
    if given is None or found is None:
        return None
    pairs = list(zip(found, given, strict=True))
    largest = [max(pairs.count((each, own)) for own in set(given)) for each in set(found)]
    return sum(largest) / len(pairs)


if __name__ == "__main__":
    sys.exit(main())
