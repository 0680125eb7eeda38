"""``python -m benchmarks.presets``: every preset once on fashion, for the same time, with its pictures and exact W1.

Writes docs/presets.md, its pictures, and results/<machine>-presets-<date>.json. Interrupted, it goes on where it stood:
finished runs lie in --runs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine
from gpgan import objectives
from gpgan.settings.presets import presets_of

ROOT = Path(__file__).parent.parent
# Those of papers; the two others are defaults and a variant for points.
PAPERS = [name for name in presets_of("generation") if name not in ("auto", "wgan-gp-toy")]
HEAD = """\
# The presets, once each on fashion

`gpgan train fashion --preset NAME --minutes {minutes:g}`, one after the other on the same machine ({cpu}, {threads} threads, torch
{torch}, {date}), with the networks that fashion's size asks for and seed 0. Written by `make results-presets`; the
settings of each run are in [the numbers](../benchmarks/results/{numbers}).

The same time is not fair to all: the papers' rates are for far longer runs. What the pictures show is what each method makes
of its first minutes. g is the critic's gradient. W1 is exact, between {reals} samples and as many test images that no run has seen; between
real images it is {floor:.2f}. [objectives.md](objectives.md) has the formulas.

| preset | objective | held back by | optimizer | generator steps | W1 |
|---|---|---|---|---|---|
{rows}
"""
PART = """
## {preset}

| samples | curves |
|---|---|
| ![100 samples of the generator](images/presets/{preset}-samples.png) | ![the critic's estimate, its gradient norm, the losses](images/presets/{preset}-curves.png) |
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="of training, each")
    parser.add_argument("--data", default="fashion", help="anything that gpgan train takes")
    parser.add_argument("--runs", type=Path, default=Path("build/presets"), help="folder of the runs")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the numbers")
    options = parser.parse_args()
    results = {preset: run(preset, options) for preset in PAPERS}
    write(results, options)
    return 0


def run(preset: str, options: argparse.Namespace) -> dict[str, Any]:
    """The run's settings and evaluation; trained only where that is still to be done."""
    folder = options.runs / preset
    finished = recorded(folder, options)
    if finished is None:
        sys.stderr.write(f"{preset}: {options.minutes:g} minutes\n")
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was broken off, or of other settings
        train = ["--preset", preset, "--minutes", f"{options.minutes:g}", "--out", str(options.runs), "--name", preset]
        gpgan("train", options.data, *train)
        gpgan("eval", str(folder))
        finished = recorded(folder, options)
    if finished is None:
        raise RuntimeError(f"{folder} is not the run that was asked for: see its config.json")
    return finished


def recorded(folder: Path, options: argparse.Namespace) -> dict[str, Any] | None:
    """A finished run of the same data and minutes, if that is what the folder has."""
    if not (folder / "eval.json").exists():
        return None
    record = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("config", "eval")}
    record["config"] = record["config"]["config"]
    wanted = (options.data, options.minutes)
    return record if (record["config"]["data"], record["config"]["minutes"]) == wanted else None


def gpgan(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "gpgan", *arguments], check=True, stdout=sys.stderr)


def write(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    images = options.docs / "images" / "presets"
    images.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    for preset in results:
        for picture in ("samples", "curves"):
            shutil.copyfile(options.runs / preset / f"{picture}.png", images / f"{preset}-{picture}.png")
    date = str(datetime.date.today())
    described = machine.describe("cpu", f"python -m benchmarks.presets --minutes {options.minutes:g}")
    numbers = options.output / f"{machine.slug('cpu')}-presets-{date}.json"
    numbers.write_text(json.dumps({"machine": described, "date": date, "runs": results}, indent=1) + "\n", "utf-8")
    first = next(iter(results.values()))
    page = HEAD.format(
        minutes=options.minutes,
        cpu=described["cpu"],
        threads=first["config"]["threads"],
        torch=described["torch"],
        date=date,
        numbers=numbers.name,
        reals=first["eval"]["reals"],
        floor=first["eval"]["w1_floor"],
        rows="\n".join(row(preset, result) for preset, result in results.items()),
    )
    page += "".join(PART.format(preset=preset) for preset in results)
    (options.docs / "presets.md").write_text(page, "utf-8")


def row(preset: str, result: dict[str, Any]) -> str:
    config, evaluation = result["config"], result["eval"]
    own = config["optimizer"]
    memory = {
        "adam": f"({own['beta1']:g}, {own['beta2']:g})",
        "rmsprop": f"({own['beta2']:g})",
        "sgd": f"({own['beta1']:g})",
    }
    rate = f"{own['kind']} {own['lr']:g} {memory[own['kind']]}, batch {config['batch']}, n_critic {config['n_critic']}"
    name = objectives.get(config["objective"]).name
    return f"| `{preset}` | {name} | {held(config)} | {rate} | {evaluation['step']} | {evaluation['w1']:.2f} |"


def held(config: dict[str, Any]) -> str:
    """What holds the critic back, in a few words."""
    penalty = config["penalty"]
    if config["weight_clip"]:
        return f"weights within ±{config['weight_clip']:g}"
    if config["network"]["spectral_norm"]:
        return "spectral normalisation"
    if not penalty["weight"]:
        return "nothing"
    where = {
        "between": "between real and fake",
        "real": "at real samples (R1)",
        "fake": "at fake samples (R2)",
        "both": "at real and fake samples (R1, R2)",
        "noisy": "at noisy real samples",
    }[penalty["points"]]
    norm = r"\|g\|"  # a bare stroke would end the table's cell
    form = f"({norm} - {penalty['target']:g})²" if penalty["target"] else f"{norm}²"
    sided = ", one-sided" if penalty["one_sided"] else ""
    lazy = f", every {penalty['lazy']} steps" if penalty["lazy"] > 1 else ""
    return f"{penalty['weight']:g} {form} {where}{sided}{lazy}"


if __name__ == "__main__":
    sys.exit(main())
