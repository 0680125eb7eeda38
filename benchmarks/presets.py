"""``python -m benchmarks.presets``: every preset once on fashion, for the same time, with its pictures and exact W1.

Writes docs/presets.md, its pictures, and results/<machine>-presets-<date>.json. Finished runs are kept in --runs: after an
interruption the same command does only what is left.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.command import gpgan
from gpgan import objectives
from gpgan.settings.presets import presets_of

ROOT = Path(__file__).parent.parent
# The papers' presets. The others are the defaults and a variant for points.
PAPERS = [name for name in presets_of("generation") if name not in ("auto", "wgan-gp-toy")]
# In a run's folder, beside its last checkpoint: the message of training that diverged.
DIVERGED = "diverged.json"
HEAD = """\
# Each preset once on fashion

`gpgan train fashion --preset NAME --minutes {minutes:g}`, one preset after the other on the same machine ({cpu}, {threads} threads,
torch {torch}, {date}), with the default networks for fashion and seed 0. Written by `make results-presets`; the
settings of each run are in [the numbers](../benchmarks/results/{numbers}).

Equal time favours some presets: the papers' learning rates are for far longer runs. The pictures show what each method makes
of its first minutes. In the table, g is the critic's gradient, and W1 is exact, between {reals} samples and as many test
images that no run has seen; between two sets of real images it is {floor:.2f}. Formulas: [objectives.md](objectives.md).

| preset | objective | critic regularisation | optimizer | generator steps | W1 |
|---|---|---|---|---|---|
{rows}
"""
PART = """
## {preset}

| samples | curves |
|---|---|
| ![100 generated samples](images/presets/{preset}-samples.png) | ![the critic's estimate, its gradient norm, the losses](images/presets/{preset}-curves.png) |
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of each run")
    parser.add_argument("--data", default="fashion", help="data of the runs, as for gpgan train")
    parser.add_argument("--runs", type=Path, default=Path("build/presets"), help="folder of the runs")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder for the page")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the numbers")
    options = parser.parse_args()
    results = {preset: run(preset, options) for preset in PAPERS}
    write(results, options)
    return 0


def run(preset: str, options: argparse.Namespace) -> dict[str, Any]:
    """The run's settings, and its evaluation or why it diverged. Trains it only if there is no finished run of the same data and minutes."""
    folder = options.runs / preset
    finished = recorded(folder, options)
    if finished is None:
        sys.stderr.write(f"{preset}: {options.minutes:g} minutes\n")
        shutil.rmtree(folder, ignore_errors=True)  # an interrupted run, or one with other settings
        train = ["--preset", preset, "--minutes", f"{options.minutes:g}", "--out", str(options.runs), "--name", preset]
        diverged = gpgan("train", options.data, *train)
        if diverged:  # the table continues and shows it
            (folder / DIVERGED).write_text(json.dumps(diverged) + "\n", "utf-8")
        else:
            gpgan("eval", str(folder))
        finished = recorded(folder, options)
    if finished is None:
        raise RuntimeError(
            f"{folder} has no finished run of {options.data} for {options.minutes:g} minutes; see its config.json"
        )
    return finished


def recorded(folder: Path, options: argparse.Namespace) -> dict[str, Any] | None:
    """The folder's finished run, or None if it has none of the same data and minutes."""
    end = next((name for name in ("eval.json", DIVERGED) if (folder / name).exists()), None)
    if end is None:
        return None
    record = {Path(name).stem: json.loads((folder / name).read_text("utf-8")) for name in ("config.json", end)}
    record["config"] = record["config"]["config"]
    expected = (options.data, options.minutes)
    return record if (record["config"]["data"], record["config"]["minutes"]) == expected else None


def write(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    images = options.docs / "images" / "presets"
    images.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    finished = {preset: result for preset, result in results.items() if "eval" in result}
    if not finished:
        raise RuntimeError(f"every preset diverged on {options.data}; expected one that trains: see {options.runs}")
    for preset in finished:
        for picture in ("samples", "curves"):
            shutil.copyfile(options.runs / preset / f"{picture}.png", images / f"{preset}-{picture}.png")
    date = str(datetime.date.today())
    described = machine.describe("cpu", f"python -m benchmarks.presets --minutes {options.minutes:g}")
    numbers = options.output / f"{machine.slug('cpu')}-presets-{date}.json"
    numbers.write_text(json.dumps({"machine": described, "date": date, "runs": results}, indent=1) + "\n", "utf-8")
    first = next(iter(finished.values()))
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
    page += "".join(
        PART.format(preset=preset)
        if preset in finished
        else f"\n## {preset}\n\nIt diverged: {results[preset]['diverged']}\n"
        for preset in results
    )
    (options.docs / "presets.md").write_text(page, "utf-8")


def row(preset: str, result: dict[str, Any]) -> str:
    config, evaluation = result["config"], result.get("eval")
    own = config["optimizer"]
    memory = {
        "adam": f"({own['beta1']:g}, {own['beta2']:g})",
        "rmsprop": f"({own['beta2']:g})",
        "sgd": f"({own['beta1']:g})",
    }
    rate = f"{own['kind']} {own['lr']:g} {memory[own['kind']]}, batch {config['batch']}, n_critic {config['n_critic']}"
    name = objectives.get(config["objective"]).name
    end = f"{evaluation['step']} | {evaluation['w1']:.2f}" if evaluation else "diverged | -"
    return f"| `{preset}` | {name} | {regularisation(config)} | {rate} | {end} |"


def regularisation(config: dict[str, Any]) -> str:
    """The critic's regularisation, in a few words."""
    penalty = config["penalty"]
    if config["weight_clip"]:
        return f"weights within ±{config['weight_clip']:g}"
    if config["network"]["spectral_norm"]:
        return "spectral normalisation"
    if not penalty["weight"]:
        return "none"
    where = {
        "between": "between real and fake",
        "real": "at real samples (R1)",
        "fake": "at fake samples (R2)",
        "both": "at real and fake samples (R1, R2)",
        "noisy": "at noisy real samples",
    }[penalty["points"]]
    norm = r"\|g\|"  # a bare | would end the table's cell
    form = f"({norm} - {penalty['target']:g})²" if penalty["target"] else f"{norm}²"
    sided = ", one-sided" if penalty["one_sided"] else ""
    lazy = f", every {penalty['lazy']} steps" if penalty["lazy"] > 1 else ""
    return f"{penalty['weight']:g} {form} {where}{sided}{lazy}"


if __name__ == "__main__":
    sys.exit(main())
