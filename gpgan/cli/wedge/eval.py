"""``gpgan wedge eval``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpgan.cli import complain
from gpgan.cli.arguments import Parser, add_best
from gpgan.cli.wedge.options import add_tilt, wedge_of
from gpgan.data.volumes import volume_files, voxel_size
from gpgan.tasks.wedge.restoration import Restoration
from gpgan.training.saved import open_run
from gpgan.util.errors import reason
from gpgan.util.files import replacing, write_json
from gpgan.util.words import shown
from gpgan.wedge.baselines import BASELINES
from gpgan.wedge.files import read_volume
from gpgan.wedge.mask import Wedge
from gpgan.wedge.restored import Restored, scores
from gpgan.wedge.scores import fourier_shell_correlation

DESCRIPTION = """\
Measure restored volumes against the truth, in the components that were not measured: S, the correlation
from 120 to 40 angstroms (1: equal to the truth, 0: chance); and the Fourier shell correlation, there and
over all components. RUN, from gpgan wedge fit with --truth, is measured on its held-out particles, beside
baselines that learn nothing, and by the distance of its re-degraded volumes to held-out observations.

Examples:
  gpgan wedge eval runs/ribosome
  gpgan wedge eval --restored restored/ --truth sim/truth --tilt -60 60 --json
"""
LABELS = {
    "s": ("S", "{:.3f}"),
    "wedge_correlation": ("wedge correlation", "{:.3f}"),
    "resolution": ("FSC .5, A", "{:.0f}"),
    "resolution_143": ("FSC .143, A", "{:.0f}"),
    "wedge_resolution": ("wedge FSC .5, A", "{:.0f}"),
    "within": ("truth within one deviation", "{:.2f}"),
}
SHARE, SAMPLES = 0.9, 16


def run(arguments: Sequence[str]) -> int:
    """Measures, prints and writes; returns 0, 1 if a file cannot be written, or 2 on bad input."""
    parser = Parser("gpgan wedge eval", DESCRIPTION)
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--restored", type=Path, metavar="PATH", help="restored volumes, instead of RUN")
    parser.add_argument("--truth", type=Path, metavar="PATH", help="the truth, files of the same names")
    parser.add_argument("--voxel", type=float, metavar="A", help="voxel size in angstroms, instead of the headers'")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="for wedge.json and fsc.png (RUN, or the folder of PATH)"
    )
    add_tilt(parser)
    add_best(parser)
    parser.add_argument("--json", action="store_true", help="print a last line of JSON with the scores")
    try:
        given = parser.given(arguments)
        if (given.run is None) == (given.restored is None):
            raise ValueError("expected either RUN or --restored, and not both")
        measured, curves, out = _of_run(given) if given.run is not None else _of_files(given)
    except (ValueError, OSError) as error:
        return complain(reason(error))
    out = given.out or out
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "wedge.json", measured)
        _draw(out / "fsc.png", curves, measured["voxel"])
    except OSError as error:
        return complain(reason(error), status=1)
    sys.stdout.write(_table(measured) + f"{shown(out / 'wedge.json')}\n{shown(out / 'fsc.png')}\n")
    if given.json:
        sys.stdout.write(json.dumps(measured) + "\n")
    return 0


Curves = Mapping[str, tuple[Tensor, Tensor]]


def _of_run(given: argparse.Namespace) -> tuple[dict[str, Any], Curves, Path]:
    saved = open_run(given.run, best=given.best)
    task = saved.task
    if not isinstance(task, Restoration):
        raise ValueError(f"{given.run} is a run of the task {saved.config.task.name}; expected one of gpgan wedge fit")
    dataset = saved.dataset()
    task.observe(dataset)
    part = task.observed.held_out
    if part is None or part.truth is None:
        what = "truth" if part is not None else "held-out particles: it has too few"
        raise ValueError(f"{given.run} has no {what}; expected a run of simulated data: gpgan wedge fit --truth")
    wedge, voxel = task.config.task.wedge, task.config.task.voxel
    restored = {task.config.task.name: task.restore(part.halves, SAMPLES, 0)}
    measured = task.model.transfer != 0
    for name, baseline in BASELINES.items():
        restored[name] = Restored(baseline(part.whole, measured, task.model.variance, SHARE))
    found = {name: dict(scores(each, part.truth, wedge, voxel)) for name, each in restored.items()}
    found[task.config.task.name].update(task.distances(0))
    about = {"n": len(part), "voxel": voxel, "tilt": [wedge.low, wedge.high], "axis": wedge.axis}
    return {**about, "step": saved.state["step"], "scores": found}, _curves(restored, part.truth, wedge), given.run


def _of_files(given: argparse.Namespace) -> tuple[dict[str, Any], Curves, Path]:
    if given.truth is None:
        raise ValueError("--truth is missing; expected the true volumes, files of the same names")
    wedge = wedge_of(given)
    files, truths = volume_files(given.restored), volume_files(given.truth)
    if given.restored.is_dir():  # what else gpgan wedge restore writes there
        files = [file for file in files if file.parent == given.restored]
    by_name = {file.name: file for file in truths}
    if len(files) == len(truths) == 1:
        by_name = {files[0].name: truths[0]}
    missing = [file.name for file in files if file.name not in by_name]
    if missing or not files:
        what = f"{missing[0]} and {given.truth} does not" if missing else "no MRC file"
        raise ValueError(f"{given.restored} has {what}; expected files of the same names")
    voxel = given.voxel or voxel_size(given.restored)
    pairs = [(read_volume(file, voxel), read_volume(by_name[file.name], voxel)) for file in files]
    for file, pair in zip(files, pairs, strict=True):
        shapes = {each.data.shape for each in (*pair, pairs[0][0])}
        if len(shapes) > 1 or len(set(pair[0].data.shape)) > 1:
            raise ValueError(
                f"{file} and its truth have the shapes {pair[0].data.shape} and {pair[1].data.shape}; expected equal cubes"
            )
    made, truth = (torch.stack([torch.from_numpy(pair[side].data) for pair in pairs]) for side in (0, 1))
    restored = {given.restored.name: Restored(made)}
    found = {name: dict(scores(each, truth, wedge, voxel)) for name, each in restored.items()}
    about = {"n": len(files), "voxel": voxel, "tilt": [wedge.low, wedge.high], "axis": wedge.axis}
    folder = given.restored if given.restored.is_dir() else given.restored.parent
    return {**about, "scores": found}, _curves(restored, truth, wedge), folder


def _curves(restored: Mapping[str, Restored], truth: Tensor, wedge: Wedge) -> Curves:
    missing = ~wedge.mask(truth.shape[1:], truth.device)
    return {
        name: (fourier_shell_correlation(each.mean, truth), fourier_shell_correlation(each.mean, truth, missing))
        for name, each in restored.items()
    }


def _table(measured: Mapping[str, Any]) -> str:
    known = [name for name in LABELS if any(name in each for each in measured["scores"].values())]
    rows = [["", *(LABELS[name][0] for name in known)]]
    for method, each in measured["scores"].items():
        rows.append(
            [method, *("-" if each.get(name) is None else LABELS[name][1].format(each[name]) for name in known)]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for method, each in measured["scores"].items():
        if "distance" in each:
            lines.append(
                f"{method}: W1 of re-degraded volumes to held-out observations {each['distance']:.4g}; that of training "
                f"observations, the floor, {each['distance_floor']:.4g}"
            )
    return "\n".join([*lines, f"{measured['n']} volumes, voxels of {measured['voxel']:g} A", ""])


def _draw(path: Path, curves: Curves, voxel: float) -> None:
    """Writes the Fourier shell correlations over all components and over the wedge alone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, part, title in zip(panels, (0, 1), ("all components", "the wedge alone"), strict=True):
        for name, pair in curves.items():
            curve = pair[part]
            k = torch.arange(len(curve)) / (2 * (len(curve) - 1)) / voxel * 10
            panel.plot(k, curve, marker=".", label=name)
        panel.axhline(0.5, color="0.7", linewidth=0.8)
        panel.axhline(0.143, color="0.7", linewidth=0.8, linestyle="--")
        panel.set(
            title=f"Fourier shell correlation with the truth: {title}",
            xlabel="spatial frequency, 1/nm",
            ylim=(-0.1, 1.03),
        )
    panels[0].set_ylabel("correlation (lines: 0.5 and 0.143)")
    panels[0].legend(fontsize=8)
    with replacing(path) as file:
        figure.savefig(file, format="png")
