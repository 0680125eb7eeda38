"""What ``gpgan train fashion`` reaches without an option: ``python -m benchmarks.default``, on a quiet machine.

For each seed it trains, evaluates, resumes and evaluates again; after an interruption the same command continues.
README.md and docs/presets.md show the result.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from benchmarks.command import gpgan
from benchmarks.runs import text
from benchmarks.table import markdown
from gpgan.records.evaluations import evaluations
from gpgan.util.files import append

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- default: written by python -m benchmarks.default -->", "<!-- default: end -->"
METRICS = ("kd", "precision", "recall", "coverage", "class_kl", "copied_share")
PICTURES = ("samples", "curves")
# The load of other processes that is published at most.
OTHERS = 0.5
# In the folder of a run: the load before or after each part of its training, the larger one.
LOADS = "loads.txt"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.default", description=__doc__)
    parser.add_argument("--data", default="fashion", help="a data set of images")
    parser.add_argument("--minutes", type=float, nargs="+", default=[4.0, 20.0], help="of training, from the start")
    parser.add_argument("--seeds", type=int, default=3, help="number of runs")
    parser.add_argument("-n", type=int, default=10_000, help="samples of each evaluation")
    parser.add_argument("--runs", type=Path, default=ROOT / "build" / "default", help="folder of the runs")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the numbers")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of docs/")
    given = parser.parse_args()
    runs = [run(given.runs, given.data, seed, given.minutes, given.n) for seed in range(given.seeds)]
    most = max(each["load"] for each in runs)
    if most > torch.get_num_threads() + OTHERS:
        sys.stderr.write(
            f"not published: the load was {most:.1f} with {torch.get_num_threads()} threads of its own, and may be {OTHERS} more; "
            f"delete {given.runs} and repeat it on a quiet machine\n"
        )
        return 1
    date = str(datetime.date.today())
    given.results.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": machine.describe("cpu", "python -m benchmarks.default"),
        "date": date,
        "data": given.data,
        "n": given.n,
        "minutes": given.minutes,
        "runs": runs,
    }
    path = given.results / f"{machine.slug('cpu')}-default-{date}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for picture in PICTURES:
        shutil.copyfile(
            given.runs / "seed-0" / f"{picture}.png", given.root / "docs" / "images" / f"default_{picture}.png"
        )
    sys.stderr.write(f"{path}: python -m benchmarks.runs --documents writes it into the documents\n")
    return 0


def run(folder: Path, data: str, seed: int, minutes: Sequence[float], n: int) -> dict[str, Any]:
    """Trains for each number of minutes in turn, and evaluates after each; does what is missing."""
    own = folder / f"seed-{seed}"
    for done, until in enumerate(minutes):
        if len(evaluations(own)) > done:
            continue
        sys.stderr.write(f"seed {seed}: to {until:g} minutes\n")
        load = os.getloadavg()[0]
        limit = ["--minutes", f"{until - (minutes[done - 1] if done else 0):g}"]
        if done:
            gpgan("resume", str(own), *limit)
        else:
            shutil.rmtree(own, ignore_errors=True)
            gpgan("train", data, *limit, "--seed", str(seed), "--out", str(folder), "--name", own.name)
        append(own / LOADS, f"{max(load, os.getloadavg()[0]):.2f}")
        gpgan("eval", str(own), "-n", str(n), "--metrics", ",".join(METRICS))
    found = evaluations(own)[: len(minutes)]
    config = json.loads((own / "config.json").read_text("utf-8"))["config"]
    for local in ("out", "name"):  # paths of this machine
        config.pop(local)
    states = [{name: each[name] for name in ("step", "images", "seconds", "cpu_seconds")} for each in found]
    quality = {str(order): each["metrics"] for order, each in enumerate(found)}
    load = max(map(float, (own / LOADS).read_text("utf-8").split()))
    return {"seed": seed, "load": load, "config": config, "states": states, "quality": quality}


def block(result: dict[str, Any], name: str) -> str:
    """The table, for docs/presets.md."""
    runs, header = result["runs"], ["minutes", "steps", "CPU seconds", *(text.LABELS[each][0] for each in METRICS)]
    rows = []
    for order, minutes in enumerate(result["minutes"]):
        states = [each["states"][order] for each in runs]
        cost = [text.spread([each[key] for each in states], "{:.0f}") for key in ("step", "cpu_seconds")]
        rows.append([f"{minutes:g}", *cost, *(text.cell(runs, each, str(order)) for each in METRICS)])
    rows.append(["real samples", "-", "-", *_floors(result)])
    return text.joined(
        f"{result['data']}, {len(runs)} seeds; {result['machine']['cpu']}, {result['machine']['cpu_threads']} threads, torch "
        f"{result['machine']['torch']}, {result['date']}: `{result['machine']['command']}`; "
        f"[every run](../benchmarks/results/{name})",
        markdown(header, rows),
        f"Cells: mean ± deviation over the seeds (real samples' score; place on the ladder), {result['n']} samples against as "
        "many test images.",
        *(f"![{picture} of seed 0](images/default_{picture}.png)" for picture in PICTURES),
    )


def _floors(result: dict[str, Any]) -> list[str]:
    """What real samples score, by the order of METRICS."""
    return text.floors({"runs": [{"quality": {"last": result["runs"][0]["quality"]["0"]}}]}, METRICS)


def summary(result: dict[str, Any], name: str) -> str:
    """The picture and a sentence, for the README."""
    order = max(range(len(result["minutes"])), key=lambda each: result["minutes"][each])
    said = ", ".join(
        f"{text.LABELS[each][0]} {text.spread(text.scores(result['runs'], each, str(order)), text.LABELS[each][1])}"
        for each in ("kd", "recall", "coverage")
    )
    floors = dict(zip(METRICS, _floors(result), strict=True))
    real = ", ".join(floors[each].partition(" ")[0] for each in ("kd", "recall", "coverage"))
    return text.joined(
        f"![generated samples of {result['data']}](docs/images/default_samples.png)",
        f"`gpgan train {result['data']} --minutes {result['minutes'][order]:g}`, no other option, on "
        f"{result['machine']['cpu_threads']} CPU threads: {said} (real samples: {real}), {len(result['runs'])} seeds. "
        f"[What these mean](docs/metrics.md), [how it grows with time](docs/presets.md#the-default), "
        f"[settings and numbers](benchmarks/results/{name}).",
    )


if __name__ == "__main__":
    sys.exit(main())
