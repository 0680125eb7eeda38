"""The curves of a run: stats.jsonl as curves.png."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from gpgan.tasks.task import Panel
from gpgan.util.files import replacing

Numbers = NDArray[np.float64]

# Pixels: the picture's width, and a panel's width and height.
DPI, WIDTH, PANEL_WIDTH, PANEL_HEIGHT = 100, 900, 760, 333
# Curves of at most this many values have markers.
MARKED = 40
# An axis is cut at these quantiles if the full range would be more than WIDER times as large.
QUANTILES, WIDER = (0.01, 0.99), 3.0
# Tick spacings, times a power of ten.
ROUND = [1, 2, 2.5, 5, 10]
COLOURS, GREY = ("#2a6fbb", "#e07b1a", "#2e8b57", "#8a4fbf"), "#808080"


class Curves:
    """Redraws a run's curves as it goes, reading each line of its statistics only once.

    Args:
        run: The run's folder.
        panels: From top to bottom.
    """

    def __init__(self, run: Path, panels: Sequence[Panel]) -> None:
        self._run, self._panels = run, panels
        curves = [curve for panel in panels for curve in panel.curves]
        names = [name for curve in curves for name in (curve.name, curve.deviation) if name]
        self._columns = ["step", *dict.fromkeys(names)]
        self._offset = 0
        self._rows = np.empty((0, len(self._columns)))

    def draw(self) -> None:
        """Writes curves.png; nothing if the run has no statistics yet.

        Incomplete lines and lines without a step are skipped, and so are lines that a resumed run has written again.
        """
        self._read()
        if not len(self._rows):
            return
        data = dict(zip(self._columns, self._rows.T, strict=True))
        count = len(self._panels)
        height = count * PANEL_HEIGHT
        figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI)
        axes = figure.subplots(count, sharex=True, squeeze=False)[:, 0]
        figure.subplots_adjust(
            left=0.1, right=0.1 + PANEL_WIDTH / WIDTH, top=1 - 45 / height, bottom=60 / height, hspace=0.22
        )
        step = data["step"]
        for panel, each in zip(self._panels, axes, strict=True):
            _draw_panel(panel, _Panel(each, step), data)
        last = axes[-1]
        last.set_xlabel("step")
        last.set_xlim(min(0, step[0]), max(step[-1], 1))
        last.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=ROUND))
        last.xaxis.set_major_formatter(EngFormatter(sep=""))
        with replacing(self._run / "curves.png") as file:
            figure.savefig(file, format="png")

    def _read(self) -> None:
        """Reads the lines that were added since the last call."""
        try:
            with (self._run / "stats.jsonl").open("rb") as file:
                file.seek(self._offset)
                # The last line may still be incomplete: it is read once it ends.
                text = file.read()
        except FileNotFoundError:
            return
        lines = text[: text.rfind(b"\n") + 1].split(b"\n")[:-1]
        self._offset += text.rfind(b"\n") + 1
        read = [row for line in lines if (row := _row(line, self._columns)) is not None]
        if not read:
            return
        rows = np.concatenate([self._rows, np.array(read, dtype=np.float64)])
        # A run that was resumed from an earlier step has written later steps twice: the last line of a step counts.
        step = rows[:, 0]
        following = np.minimum.accumulate(np.append(step[1:], np.inf)[::-1])[::-1]
        self._rows = rows[step < following]


def _draw_panel(panel: Panel, drawn: _Panel, data: Mapping[str, Numbers]) -> None:
    colours = itertools.cycle(COLOURS)
    for curve in panel.curves:
        values = data[curve.name]
        if curve.largest:
            drawn.largest(values, GREY, curve.label)
            continue
        colour = next(colours)
        if curve.deviation:
            deviation = data[curve.deviation]
            drawn.band(values - deviation, values + deviation, colour)
        drawn.curve(values, colour, curve.label, ranged=not curve.deviation)
    if panel.level is not None:
        drawn.level(*panel.level)
    drawn.finish(panel.title, panel.unit, panel.empty)


def _row(line: bytes, columns: Sequence[str]) -> list[float | None] | None:
    """A line's numbers in the order of the columns, None for missing ones; None for a line without statistics."""
    try:
        stats = json.loads(line)
        row = [stats.get(name) for name in columns]
        return row if all(isinstance(x, int | float) for x in row if x is not None) and row[0] is not None else None
    except (ValueError, AttributeError, RecursionError):
        return None


class _Panel:
    """One panel of curves over the steps [n]; for the many lines in one column of pixels it shows mean and range.

    Unknown values in [n] are NaN; a curve skips them and connects the known ones.
    """

    def __init__(self, axes: Axes, step: Numbers) -> None:
        self._axes = axes
        self._step = step
        self._shown: list[Numbers] = []

    def curve(self, values: Numbers, colour: str, label: str, *, ranged: bool = True) -> None:
        """Draws the mean of each column, over a band of its range."""
        step, low, mean, high = self._columns(values)
        if ranged:
            self._fill(step, low, high, colour)
        self._plot(step, mean, colour, label, width=1.5)

    def largest(self, values: Numbers, colour: str, label: str) -> None:
        """Draws the largest value of each column."""
        step, _, _, high = self._columns(values)
        self._plot(step, high, colour, label, width=0.8)

    def band(self, low: Numbers, high: Numbers, colour: str) -> None:
        """Fills from the lowest ``low`` of each column to its highest ``high``; both are NaN in the same places."""
        step, lowest, _, _ = self._columns(low)
        self._fill(step, lowest, self._columns(high)[3], colour)

    def _plot(self, step: Numbers, values: Numbers, colour: str, label: str, width: float) -> None:
        if len(step):
            marker = "." if len(step) <= MARKED else None
            self._axes.plot(step, values, color=colour, linewidth=width, marker=marker, label=label)
            self._shown.append(values)

    def _fill(self, step: Numbers, low: Numbers, high: Numbers, colour: str) -> None:
        if len(step):
            self._axes.fill_between(step, low, high, color=colour, alpha=0.22, linewidth=0)
            self._shown += [low, high]

    def level(self, value: float, label: str) -> None:
        """A horizontal dashed line, which is always in view."""
        self._axes.axhline(value, color="black", linewidth=1, linestyle="--", label=f"{label} {value:g}")

    def finish(self, title: str, unit: str, empty: str = "no numbers yet") -> None:
        """Adds title, legend, axes and a note on cut values; shows ``empty`` if there are no curves."""
        axes = self._axes
        # Not set_title, which takes half of the drawing time to find a position above the ticks.
        axes.text(0, 1.03, title, transform=axes.transAxes, fontsize=11, fontweight="bold")
        axes.set_ylabel(unit)
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=ROUND))
        labels = axes.get_legend_handles_labels()[1]
        if not labels:
            axes.text(0.5, 0.5, empty, transform=axes.transAxes, ha="center", color=GREY)
            return
        room = {"borderaxespad": 0.2, "handlelength": 1.2, "columnspacing": 1.2}  # next to the longest title
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(labels), frameon=False, fontsize=9, **room)
        if self._shown:
            self._limit(np.concatenate(self._shown))

    def _limit(self, shown: Numbers) -> None:
        """Keeps a few outliers, such as those of the first steps, from flattening everything else, and says so."""
        axes = self._axes
        low, high = np.quantile(shown, QUANTILES)
        least, most = shown.min(), shown.max()
        room = high - low
        if not most - least > WIDER * room > 0:
            return
        bottom, top = max(least, low - room / 2), min(most, high + room / 2)
        levels = [float(line.get_ydata()[0]) for line in axes.lines if line.get_linestyle() == "--"]  # type: ignore[index, arg-type]
        margin = 0.04 * (top - bottom)
        axes.set_ylim(min([bottom, *levels]) - margin, max([top, *levels]) + margin)
        beyond = [f"up to {most:.3g}"] * bool(most > top) + [f"down to {least:.3g}"] * bool(least < bottom)
        note = f"beyond this axis: {' and '.join(beyond)}"
        axes.text(0.995, 0.97, note, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=GREY)

    def _columns(self, values: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """For the known values in each column of pixels: the first one's step, the lowest, the mean and the highest."""
        known = np.isfinite(values)
        step, values = self._step[known], values[known]
        if not len(step):
            return step, values, values, values
        span = max(self._step[-1] - self._step[0], 1)
        column = np.minimum((step - self._step[0]) / span * PANEL_WIDTH, PANEL_WIDTH - 1).astype(np.int64)
        first = np.flatnonzero(np.diff(column, prepend=-1))
        mean = np.add.reduceat(values, first) / np.diff(first, append=len(step))
        return step[first], np.minimum.reduceat(values, first), mean, np.maximum.reduceat(values, first)
