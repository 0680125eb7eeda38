"""Super-resolution by L1 alone and with a critic, once each: ``python -m benchmarks.superresolve``, told in docs/tasks.md.

python -m benchmarks.superresolve                 5 minutes of training each, on a quiet machine
python -m benchmarks.superresolve --minutes 1
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from benchmarks.command import gpgan
from benchmarks.documents import write_into
from gpgan.data import load, split
from gpgan.data.degrade import downscale, upscale
from gpgan.metrics.restoration import detail, psnr, ssim
from gpgan.records.evaluations import evaluations

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- superresolve: written by python -m benchmarks.superresolve -->", "<!-- superresolve: end -->"
# The critic's weight beside L1.
WEIGHTS = (0.0, 0.01)
# Held-out images that a run is measured on.
COUNT = 2500
SCALE = 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.superresolve", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, each")
    parser.add_argument("--data", default="fashion", help="a data set of images")
    parser.add_argument("--runs", type=Path, default=Path("build/superresolve"), help="folder of the runs")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the numbers")
    options = parser.parse_args()
    shutil.rmtree(options.runs, ignore_errors=True)
    rows = [interpolation(options.data), *(run(weight, options) for weight in WEIGHTS)]
    write(rows, options)
    return 0


def interpolation(data: str) -> dict[str, Any]:
    """What a network has to beat: bicubic interpolation of the same images that ``gpgan eval`` takes."""
    dataset = split(load(data))
    held_out = dataset.stored if dataset.held_out is None else dataset.held_out
    chosen = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))[:COUNT]
    truths = dataset.scaled(held_out[chosen]).double()
    enlarged = upscale(downscale(truths, SCALE), SCALE).clamp(-1, 1)
    numbers = {
        "psnr": float(psnr(enlarged, truths).mean()),
        "ssim": float(ssim(enlarged, truths).mean()),
        "detail": detail(enlarged, truths),
    }
    return {"name": "bicubic interpolation", "step": 0, **numbers}


def run(weight: float, options: argparse.Namespace) -> dict[str, Any]:
    name = f"critic-{weight:g}"
    folder = options.runs / name
    sys.stderr.write(f"{name}: {options.minutes:g} minutes\n")
    train = ["--task", "superresolve", "--task.scale", str(SCALE), "--task.critic", str(weight), "--steps", "1000000"]
    where = ["--minutes", f"{options.minutes:g}", "--out", str(options.runs), "--name", name]
    diverged = gpgan("train", options.data, *train, *where)
    if diverged:  # the table continues and shows it
        return {"name": title(weight), "diverged": diverged}
    gpgan("eval", str(folder), "-n", str(COUNT))
    return recorded(folder, weight)


def title(weight: float) -> str:
    return f"L1 + {weight:g} critic" if weight else "L1 alone"


def recorded(folder: Path, weight: float) -> dict[str, Any]:
    """The numbers of a run that was trained and evaluated, with its history on held-out images."""
    measured = evaluations(folder)[-1]
    config = json.loads((folder / "config.json").read_text("utf-8"))["config"]
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text("utf-8").splitlines()]
    history = [{key: line[key] for key in ("step", "psnr", "ssim", "detail")} for line in lines]
    numbers = {key: measured["metrics"][key]["score"] for key in ("psnr", "ssim", "detail")}
    return {"name": title(weight), "step": measured["step"], **numbers, "config": config, "history": history}


def write(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    images = options.docs / "images" / "superresolve"
    images.mkdir(parents=True, exist_ok=True)
    for picture in ("samples", "curves") * ("diverged" not in rows[-1]):
        shutil.copyfile(options.runs / f"critic-{WEIGHTS[-1]:g}" / f"{picture}.png", images / f"{picture}.png")
    date = str(datetime.date.today())
    described = machine.describe("cpu", f"python -m benchmarks.superresolve --minutes {options.minutes:g}")
    options.output.mkdir(parents=True, exist_ok=True)
    numbers = options.output / f"{machine.slug('cpu')}-superresolve-{date}.json"
    numbers.write_text(json.dumps({"machine": described, "date": date, "rows": rows}, indent=1) + "\n", "utf-8")
    write_into(options.docs / "tasks.md", BEGIN, END, table(rows, described, date, options, numbers.name))


def block(record: dict[str, Any], numbers: str) -> str:
    """What the document shows; ``numbers`` is the name of the record's file."""
    config = next(row["config"] for row in record["rows"] if "config" in row)
    options = argparse.Namespace(data=config["data"], minutes=config["minutes"])
    return table(record["rows"], record["machine"], record["date"], options, numbers)


def table(
    rows: list[dict[str, Any]], described: dict[str, Any], date: str, options: argparse.Namespace, numbers: str
) -> str:
    side = load(options.data).shape[-1]
    head = (
        f"{options.data}, {side // SCALE} to {side} pixels, {options.minutes:g} {'minute' if options.minutes == 1 else 'minutes'} each on {described['cpu']}, "
        f"{described['cpu_threads']} threads, {date}; one seed; {COUNT} held-out images; [settings and numbers]"
        f"(../benchmarks/results/{numbers})\n\n"
        "|  | steps | PSNR, dB | SSIM | detail |\n| --- | --- | --- | --- | --- |\n"
    )
    return head + "".join(
        f"| {row['name']} | diverged | - | - | - |\n"
        if "diverged" in row
        else f"| {row['name']} | {row['step']} | {row['psnr']:.2f} | {row['ssim']:.3f} | {row['detail']:.2f} |\n"
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
