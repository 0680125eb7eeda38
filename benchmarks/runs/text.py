"""Cells and tables, from the results of runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.runs.plan import Record, slug
from benchmarks.table import markdown

# Of metrics, with the factor and the digits that they are shown with.
LABELS = {
    "kd": ("KD x 1000", "{:.0f}"),
    "fd_infinity": ("FD-infinity", "{:.0f}"),
    "precision": ("precision", "{:.2f}"),
    "recall": ("recall", "{:.2f}"),
    "coverage": ("coverage", "{:.2f}"),
    "class_kl": ("class KL", "{:.3f}"),
    "copied_share": ("copied share", "{:.3f}"),
}


def methods(result: Record) -> list[str]:
    return list(dict.fromkeys(run["method"] for run in result["runs"]))


def runs_of(result: Record, method: str) -> list[Record]:
    """The runs of a method that did not diverge."""
    return [run for run in result["runs"] if run["method"] == method and not run["diverged"]]


def spread(values: Sequence[float | None], form: str) -> str:
    """Mean and standard deviation; the value itself if there is one; "-" if there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = form.format(statistics.fmean(known))
    return mean if len(known) < 2 else f"{mean} ± {form.format(statistics.stdev(known))}"


def scores(runs: Sequence[Record], metric: str, state: str = "last") -> list[float | None]:
    return [run["quality"][state][metric]["score"] for run in runs if metric in run["quality"][state]]


def cell(runs: Sequence[Record], metric: str, state: str = "last") -> str:
    """A metric over seeds, with the floor in brackets and the place on the ladder of the run in the middle."""
    measured = [run["quality"][state][metric] for run in runs if metric in run["quality"][state]]
    if not measured:
        return "-"
    form = LABELS[metric][1]
    text = spread([each["score"] for each in measured], form)
    floors = [each["floor"] for each in measured if each["floor"] is not None]
    known = sorted((each for each in measured if each["score"] is not None), key=lambda each: each["score"])
    place = known[len(known) // 2]["place"] if known else ""
    beside = [*([form.format(statistics.fmean(floors))] if floors else []), *([place] if place else [])]
    return text + (f" ({'; '.join(beside)})" if beside else "")


def floors(result: Record, metrics: Sequence[str]) -> list[str]:
    """What real samples score: mean and deviation over draws."""
    measured = next((run["quality"]["last"] for run in result["runs"] if run.get("quality")), {})
    cells = []
    for metric in metrics:
        each, form = measured.get(metric, {}), LABELS[metric][1]
        if each.get("floor") is None:
            cells.append("-")
            continue
        deviation = each.get("floor_deviation")
        cells.append(form.format(each["floor"]) + ("" if deviation is None else f" ± {form.format(deviation)}"))
    return cells


def quality_table(
    result: Record, metrics: Sequence[str], states: Sequence[str] = ("last",), name: Callable[[str], str] = str
) -> list[str]:
    """One row per method, and per state of its runs (the last or the selected checkpoint), and one of real samples."""
    header = [
        "",
        *(["checkpoint"] if len(states) > 1 else []),
        "steps",
        "images",
        *(head(result, each) for each in metrics),
    ]
    rows = []
    for method in methods(result):
        runs = runs_of(result, method)
        same = all(len(set(run["states"].values())) == 1 for run in runs)
        for state in states[:1] if same else states:
            cells = [name(method), *(["both" if same else state] if len(states) > 1 else [])]
            if not runs:
                rows.append([*cells, *["diverged"] * (len(header) - len(cells))])
                continue
            slices = [run["slices"][run["states"][state]] for run in runs]
            cells += [spread([each[key] for each in slices], "{:.0f}") for key in ("step", "images")]
            rows.append([*cells, *(cell(runs, metric, state) for metric in metrics)])
    rows.append(["real samples", *["-"] * (len(header) - 1 - len(metrics)), *floors(result, metrics)])
    return markdown(header, rows)


def head(result: Record, metric: str) -> str:
    """A metric's label, with its number of samples if that is not the table's."""
    measured = [run["quality"]["last"].get(metric, {}) for run in result["runs"] if run.get("quality")]
    n = next((each["n"] for each in measured if each), result["n"])
    return LABELS[metric][0] + ("" if n == result["n"] else f", n {n}")


def about(result: Record, seconds: bool = True) -> str:
    """On what a table was measured: one line."""
    device, seeds = result["machine"].get("gpu"), {run["seed"] for run in result["runs"]}
    where = device or f"{result['machine']['cpu']}, one core each"
    unit = "seconds" if device else "CPU seconds"
    time = f", {result['seconds']:g} {unit} of training each" if seconds else ""
    most = max((each["load"]["most"] for run in result["runs"] for each in run["slices"]), default=0.0)
    one = len(seeds) == 1
    return (
        f"{result['data'].partition(':')[2] or result['data']}, {len(seeds)} {'seed' if one else 'seeds'}{time}; {where}, "
        f"load at most {most:.1f} with {result['workers']} of its own, torch {result['machine']['torch']}, {result['date']}: `{result['machine']['command']}`; "
        f"[every run](../benchmarks/results/runs/{result['table']}/{result['scale']}.json)"
    )


def diverged(result: Record) -> list[str]:
    """A line for each run that diverged."""
    return [f"- {run['method']}, seed {run['seed']}: {run['diverged']}" for run in result["runs"] if run["diverged"]]


def own(runs: Sequence[Record], key: str) -> list[Any]:
    return [run["own"][key] for run in runs if run["own"]]


def joined(*parts: Sequence[str] | str) -> str:
    """Paragraphs, each a text or lines; empty ones are left out."""
    texts = ["\n".join([part] if isinstance(part, str) else part) for part in parts]
    return "\n\n".join(text for text in texts if text) + "\n"


def stem(result: Record) -> str:
    """The beginning of its figures' names."""
    return str(result["table"]) + ("" if result["scale"] == "small" else f"-{result['scale']}")


def picture(result: Record, name: str, about: str) -> str:
    return f"![{about}](images/runs/{stem(result)}-{name}.png)"


def pictures(result: Record) -> list[str]:
    """The pictures of each method's first run, a row each."""
    words = {"samples": "samples", "neighbours": "samples beside their nearest training images"}
    names = list(dict.fromkeys(name for each in result["pictures"].values() for name in each))
    rows = [
        [
            method,
            *(
                picture(result, f"{slug(method)}-{name}", f"{method}: {words[name]}") if name in own else ""
                for name in names
            ),
        ]
        for method, own in result["pictures"].items()
    ]
    return markdown(["", *(words[name] for name in names)], rows) if rows else []
