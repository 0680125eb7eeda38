"""Turns the records of runs into the table, as JSON and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from benchmarks.table import markdown
from benchmarks.toy import settings
from benchmarks.toy.protocol import DATA, PUBLISHED, REAL_SEEDS, SAMPLES

# The table's numbers: the name in a record, the factor applied for display, and the digits shown.
NUMBERS = {"modes": ("captured", 1, 2), "high_quality": ("high_quality", 100, 1), "reverse_kl": ("reverse_kl", 1, 3)}
# At least this many modes and this percentage, at most this reverse KL.
TARGETS = {"ring": (8.0, 97.0, 0.01), "grid": (25.0, 96.0, 0.02)}

BEGIN, END = "<!-- toy: written by python -m benchmarks.toy --readme -->", "<!-- toy: end -->"

Record = Mapping[str, Any]


def summarise(records: Iterable[Record], real: Mapping[str, Sequence[Record]]) -> list[dict[str, Any]]:
    """One row per preset and mixture that has runs, and one for real data: each number's mean and standard error.

    Args:
        records: Those of the runs, see ``run.train``.
        real: The scores of real samples, by mixture.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["preset"], record["data"]), []).append(record)
    rows = [
        _row(preset, data, groups[preset, data])
        for preset in settings.SEEDS
        for data in DATA
        if (preset, data) in groups
    ]
    return rows + [_row("real data", data, scores) for data, scores in real.items()]


def _row(name: str, data: str, records: Sequence[Record]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "data": data, "runs": len(records)}
    for number, (key, times, _) in NUMBERS.items():
        # Without a sample of high quality there are no shares, and so no reverse KL.
        values = [times * record[key] for record in records if record[key] is not None]
        row[number] = {
            "mean": statistics.fmean(values) if values else None,
            "standard_error": statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None,
            "of": len(values),
        }
    if all("seconds" in record for record in records):
        row["seconds"] = statistics.fmean(record["seconds"] for record in records)
        row["diverged"] = sum(record["diverged"] is not None for record in records)
    return row


def reached(row: Mapping[str, Any]) -> bool:
    """Whether the row's means meet the targets."""
    modes, high_quality, reverse_kl = (row[number]["mean"] for number in NUMBERS)
    least, percent, most = TARGETS[row["data"]]
    return bool(modes >= least and high_quality >= percent and reverse_kl is not None and reverse_kl <= most)


def render(result: Mapping[str, Any]) -> str:
    """The Markdown page."""
    rows: list[dict[str, Any]] = result["rows"]
    done, planned = result["done"], result["planned"]
    part = "" if done == planned else f" (so far: {done} of {planned} runs)"
    title = f"# Presets on mixtures of Gaussians: {result['machine']['cpu']}, {result['date']}{part}"
    lines = [title, "", "Written by the command below from the JSON of the same name.", ""]
    lines += markdown(["", ""], [[name, f"`{value}`"] for name, value in result["machine"].items()])
    for data in DATA:
        lines += ["", f"## {data}", "", *_section([row for row in rows if row["data"] == data], data)]
    lines += [
        "",
        f"Protocol: VEEGAN's, as used by PacGAN, on {SAMPLES} samples. A sample is of high quality within 3 standard deviations of",
        "the nearest mode; a mode is captured if it has one such sample; reverse KL is that of the modes' shares of these samples",
        f"to equal shares, in nats. Mean and standard error over runs with different seeds (real data: {REAL_SEEDS} draws). Seconds: CPU",
        "time of a run on one thread. The published rows are of other networks and budgets.",
    ]
    return "\n".join(lines) + "\n"


def summary(result: Mapping[str, Any], page: str) -> str:
    """Both mixtures in one table, for the README: modes / high quality % / reverse KL, means over the runs."""
    cells = [
        [f"{name} (published)", *(" / ".join(map(_plain, astuple(of[data]))) for data in DATA)]
        for name, of in PUBLISHED.items()
    ]
    names = dict.fromkeys(row["name"] for row in result["rows"])
    rows = {(row["name"], row["data"]): row for row in result["rows"]}
    for name in names:
        both = [rows[name, data] for data in DATA]
        good = all("seconds" in rows[name, data] and reached(rows[name, data]) for data in DATA)
        cells.append([f"**{name}**" if good else name, *map(_in_one, both)])
    bold = ", ".join(
        f"at least {percent:g} % and at most {most:g} on {data}" for data, (_, percent, most) in TARGETS.items()
    )
    return "\n".join(
        [
            f"Modes / high quality % / reverse KL of {SAMPLES} samples, means over {settings.SEEDS['wgan-gp']} seeds of nsgan and "
            f"wgan-gp and {settings.SEEDS['gan']} of each other preset, {result['date']}. Bold: all modes, {bold}. What the presets share "
            "(networks, batch, learning rate, beta2) was found with wgan-gp on grid; another preset might do better with settings "
            "of its own.",
            f"[Standard errors, settings](benchmarks/results/{page}); [what was tried](docs/toy.md); `make results-toy`",
            "",
            *markdown(["", *DATA], cells),
            "",
        ]
    )


def _in_one(row: Mapping[str, Any]) -> str:
    numbers = zip((row[number]["mean"] for number in NUMBERS), (1, 1, 3), strict=True)
    cell = " / ".join("-" if number is None else f"{number:.{digits}f}" for number, digits in numbers)
    return cell + (f" ({row['diverged']} of {row['runs']} diverged)" if row.get("diverged") else "")


def _section(rows: Sequence[Mapping[str, Any]], data: str) -> list[str]:
    header = ["", "runs", "modes", "high quality %", "reverse KL", "seconds"]
    cells = [
        [
            f"{name} (published)",
            "",
            f"{of[data].modes:g}",
            f"{of[data].high_quality:g}",
            _plain(of[data].reverse_kl),
            "",
        ]
        for name, of in PUBLISHED.items()
    ]
    for row in rows:
        runs = str(row["runs"]) + (f", {row['diverged']} diverged" if row.get("diverged") else "")
        numbers = [_number(row[number], digits, row["runs"]) for number, (_, _, digits) in NUMBERS.items()]
        cells.append([row["name"], runs, *numbers, f"{row['seconds']:.0f}" if "seconds" in row else ""])
    good = [row["name"] for row in rows if "seconds" in row and reached(row)]
    modes, percent, most = TARGETS[data]
    target = f"Target ({modes:g} modes, at least {percent:g} %, reverse KL at most {most:g}) reached by: "
    return [*markdown(header, cells), "", f"{target}{', '.join(good) or 'none'}."]


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _number(value: Mapping[str, Any], digits: int, runs: int) -> str:
    if value["mean"] is None:
        return "-"
    error = "" if value["standard_error"] is None else f" ± {value['standard_error']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{error}" + (f" ({value['of']} runs)" if value["of"] < runs else "")
