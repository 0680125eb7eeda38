"""The figures of the tables, from their results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.runs import text
from benchmarks.runs.plan import Record


def _figure(width: float, height: float, columns: int = 1, rows: int = 1, **settings: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **settings)
    return figure, list(panels.flat)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _unit(result: Record) -> str:
    return "seconds of training" if "gpu" in result["machine"] else "CPU seconds of training"


def _floor(panel: Axes, result: Record, metric: str) -> None:
    """A line at what real samples score."""
    known = [run["quality"]["last"].get(metric, {}).get("floor") for run in result["runs"] if run.get("quality")]
    value = next((each for each in known if each is not None), None)
    if value is None:
        return
    lowest, _ = panel.get_ylim()
    panel.axhline(value, color="0.4", linestyle=":", linewidth=1, label=f"real samples: {value:.0f}")
    if value < lowest / 10:  # far below what was measured, or not positive: the axis is for the runs
        panel.set_ylim(bottom=lowest)


def _logarithmic(axis: Axis, ticks: Sequence[float] = ()) -> None:
    """Labels only powers of ten, or the given ticks."""
    axis.set_minor_formatter(NullFormatter())
    if ticks:
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])


def quality_curves(result: Record, path: Path) -> None:
    """KD on the selection part at the ends of the slices, against time and against images."""
    figure, panels = _figure(10, 4.2, 2, sharey=True)
    for method in text.methods(result):
        runs = [run for run in text.runs_of(result, method) if all(each.get("selection") for each in run["slices"])]
        scores = np.array([[each["selection"]["kd"] or np.nan for each in run["slices"]] for run in runs])
        if not scores.size:
            continue
        seconds = np.array([np.cumsum([each["seconds"] for each in run["slices"]]) for run in runs])
        images = np.array([[each["images"] for each in run["slices"]] for run in runs])
        for panel, x in zip(panels, (seconds, images), strict=True):
            (line,) = panel.plot(x.mean(0), scores.mean(0), marker="o", markersize=4, label=method)
            panel.fill_between(x.mean(0), scores.min(0), scores.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
    for panel, name in zip(panels, (_unit(result), "real images seen by the critic"), strict=True):
        panel.set(xlabel=name, yscale="log")
        _floor(panel, result, "kd")
        _logarithmic(panel.yaxis)
    panels[0].set(ylabel="KD x 1000, selection part (lower is better)")
    panels[1].set(xscale="log")
    _logarithmic(panels[1].xaxis)
    panels[1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def precision_recall(result: Record, path: Path) -> None:
    """Every run in the plane of precision and recall."""
    figure, [panel] = _figure(6.4, 4.6)
    for method in text.methods(result):
        runs = text.runs_of(result, method)
        panel.plot(
            text.scores(runs, "recall"), text.scores(runs, "precision"), "o", markersize=6, alpha=0.8, label=method
        )
    measured = next(run["quality"]["last"] for run in result["runs"] if run.get("quality"))
    ends = [measured[name]["floor"] for name in ("recall", "precision")]
    if None not in ends:
        panel.plot(*([each] for each in ends), "k*", markersize=12, label="real samples")
    panel.set(
        xlabel="recall: share of real images within the samples' manifold", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
    )
    panel.set(ylabel="precision: share of samples within the real manifold")
    panel.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def class_shares(result: Record, path: Path) -> None:
    """The share of samples that a classifier sees in each class, and that of real samples."""
    bars: dict[str, list[list[float]]] = {}
    names: list[str] = []
    for method in text.methods(result):
        runs = text.runs_of(result, method)
        details = [run["quality"]["last"].get("class_kl", {}).get("details", {}) for run in runs]
        if not any(details):
            continue
        names = [name for name in details[0] if f"{name}, real" in details[0]]
        bars[method] = [[one[name] for name in names] for one in details]
        real = [[details[0][f"{name}, real"] for name in names]]
    if bars:
        draw_bars({**bars, "real samples": real}, names, "share of the samples", path)


def draw_bars(values: Mapping[str, Sequence[Sequence[float]]], names: Sequence[str], ylabel: str, path: Path) -> None:
    """Groups of bars by name, a bar per method: mean and range over its runs."""
    figure, [panel] = _figure(10, 4)
    width = 0.8 / max(len(values), 1)
    places = np.arange(len(names))
    for number, (method, runs) in enumerate(values.items()):
        if not len(runs):
            continue
        each = np.array(runs, dtype=float)
        mean = each.mean(0)
        error = [mean - each.min(0), each.max(0) - mean]
        panel.bar(
            places + (number - (len(values) - 1) / 2) * width,
            mean,
            width,
            yerr=error,
            label=method,
            error_kw={"lw": 0.8},
        )
    panel.set(ylabel=ylabel)
    panel.set_xticks(places, names, rotation=20, ha="right")
    panel.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def critic(result: Record, path: Path) -> None:
    """The gradient norm, and the estimate on training data less that on held-out data, over the first run of each method."""
    figure, panels = _figure(10, 4.2, 2)
    for method in text.methods(result):
        history = next((run["history"] for run in text.runs_of(result, method)), [])
        x = [line["images"] for line in history]
        norms = [np.nan if line["norm_mean"] is None else line["norm_mean"] for line in history]
        gaps = [np.nan if line["held_out"] is None else line["estimate"] - line["held_out"] for line in history]
        for panel, y in zip(panels, (norms, gaps), strict=True):
            panel.plot(x, y, linewidth=1.2, label=method, marker="." if len(x) < 5 else None)
    panels[0].set(ylabel="mean gradient norm at the penalty's points", xlabel="real images seen by the critic")
    panels[1].set(ylabel="estimate: training - held-out data", xlabel="real images seen by the critic")
    panels[1].set_yscale("symlog", linthresh=0.1)
    panels[1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def sizes(result: Record, path: Path) -> None:
    """KD and the Fréchet distance of one run against the number of samples, beside real samples."""
    run = next(run for run in result["runs"] if run["sizes"])
    measured = {int(n): each for n, each in run["sizes"].items()} | {result["n"]: run["quality"]["last"]}
    figure, panels = _figure(9, 3.8, 2)
    counts = sorted(measured)
    for panel, metric, name in zip(panels, ("kd", "fd"), ("KD x 1000", "Fréchet distance"), strict=True):
        known = [n for n in counts if metric in measured[n]]
        for key, label in (("score", f"{run['method']}, seed {run['seed']}"), ("floor", "real samples")):
            values = [measured[n][metric][key] for n in known]
            panel.plot(known, [np.nan if each is None else each for each in values], "o-", markersize=4, label=label)
        panel.set(xlabel="samples", ylabel=name, xscale="log")
        _logarithmic(panel.xaxis, counts)
        panel.legend(fontsize="small")
    _save(figure, path)


def modes(made: Mapping[str, Sequence[Record]], ceiling: Record, path: Path) -> None:
    """Modes and KL of every run, beside real stacks."""
    figure, panels = _figure(9, 3.8, 2)
    for panel, key, name in zip(panels, ("modes", "kl"), ("modes that occur", "KL to equal shares"), strict=True):
        for number, runs in enumerate(made.values()):
            panel.plot([number] * len(runs), [run[key] for run in runs], "o", alpha=0.8)
        panel.axhline(ceiling[key], color="0.4", linestyle=":", label="real stacks, held out")
        panel.set_xticks(range(len(made)), list(made), rotation=20, ha="right")
        panel.set(ylabel=name, xlim=(-0.5, len(made) - 0.5))
        panel.set_ylim(bottom=0)
        panel.legend(fontsize="small")
    _save(figure, path)


def pairs(
    points: Sequence[tuple[float, float, str]], names: tuple[str, str], levels: Sequence[float], path: Path
) -> None:
    """Each architecture's KD with one objective against that with the other."""
    figure, [panel] = _figure(6.4, 4.8)
    for kind in sorted({kind for *_, kind in points}):
        chosen = np.array([each[:2] for each in points if each[2] == kind], dtype=float)
        panel.plot(chosen[:, 0], chosen[:, 1], "o", alpha=0.8, label=f"critic with {kind}")
    for level in levels:
        panel.axhline(level, color="0.7", linewidth=0.7, linestyle=":")
        panel.axvline(level, color="0.7", linewidth=0.7, linestyle=":")
    values = [value for each in points for value in each[:2]]
    if values:
        ends = [min(values), max(values)]
        panel.plot(ends, ends, color="0.4", linewidth=0.8, label="equal")
    panel.set(xlabel=f"KD x 1000 with {names[0]}", ylabel=f"KD x 1000 with {names[1]}")
    panel.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def same_curves(curves: Mapping[str, np.ndarray], base: str, path: Path) -> None:
    """The critic's loss ``[seeds, steps]`` of each penalty: the first seed's curves, and all differences to one of them."""
    figure, [upper, lower] = _figure(7, 5.5, rows=2, sharex=True)
    for width, (method, values) in zip((5, 3, 1.2), curves.items(), strict=True):
        steps = np.arange(1, values.shape[1] + 1)
        upper.plot(steps, values[0], linewidth=width, alpha=0.6, label=method)
    upper.set(ylabel="critic's loss, seed 0")
    upper.legend(fontsize="small")
    for number, (method, values) in enumerate(curves.items()):
        for seed, apart in enumerate(np.abs(values - curves[base])):
            if method != base:
                label = f"{method}, all seeds" if seed == 0 else None
                lower.semilogy(
                    steps, np.where(apart > 0, apart, np.nan), color=f"C{number}", linewidth=0.8, label=label
                )
    lower.axhline(np.finfo(np.float32).eps, linestyle=":", color="grey", label="rounding of a float32 near 1")
    lower.set(xlabel="generator step", ylabel=f"|difference to {base}|")
    lower.legend(fontsize="small")
    _save(figure, path)
