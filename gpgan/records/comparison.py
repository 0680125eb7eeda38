"""Several runs in one plot: how quality changes with CPU time and with the images seen."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from gpgan.records.curves import COLOURS
from gpgan.util.files import replacing

# Of a line of stats.jsonl, with the label of its axis.
COSTS = {"cpu_seconds": "CPU seconds", "images": "real images seen"}


def tracks(run: Path, name: str) -> list[dict[str, float]]:
    """The lines of stats.jsonl that have a value of a metric, measured during training, and what it cost so far."""
    found = []
    try:
        lines = (run / "stats.jsonl").read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            stats = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(stats, dict) and all(isinstance(stats.get(each), int | float) for each in (name, *COSTS)):
            found.append({each: stats[each] for each in (name, *COSTS)})
    return found


def draw_comparison(path: Path, runs: Mapping[str, Path], name: str, label: str, floor: float | None) -> bool:
    """Draws a metric's values during training against each cost, a line for each run.

    Args:
        path: The .png.
        runs: Their folders by name.
        name: Of the metric.
        label: Of its axis.
        floor: What real samples score, or None.

    Returns:
        Whether any run has values.
    """
    lines = {title: tracks(run, name) for title, run in runs.items()}
    if not any(lines.values()):
        return False
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, (cost, words) in zip(figure.subplots(1, 2, sharey=True), COSTS.items(), strict=True):
        for (title, line), colour in zip(lines.items(), itertools.cycle(COLOURS), strict=False):
            if line:
                axes.plot([at[cost] for at in line], [at[name] for at in line], ".-", color=colour, label=title)
        if floor is not None and floor > 0:
            axes.axhline(floor, color="black", linestyle="--", linewidth=1, label=f"real samples: {floor:.3g}")
        values = [at[name] for line in lines.values() for at in line]
        if min(values) > 0:
            axes.set_yscale("log")
        axes.set_xlabel(words)
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(left=0)
    figure.axes[0].set_ylabel(label)
    figure.axes[0].legend(frameon=False, fontsize=9)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)
    return True
