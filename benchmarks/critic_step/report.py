"""A result's Markdown page and its figure, made from its JSON alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.critic_step.providers import PROVIDERS
from benchmarks.critic_step.run import HALF, STOCK
from benchmarks.critic_step.targets import verdicts
from benchmarks.table import markdown, time_text

BEGIN, END = "<!-- critic_step: written by python -m benchmarks critic_step --doc -->", "<!-- critic_step: end -->"
COLOURS = {"gpgan": "tab:blue", "JAX": "tab:green", "torch.compile": "tab:orange"}

HEADER = ["provider", "time", "time / stock", "F", "calls", "peak MB", "peak / stock", "gradient error"]


def _spread(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} ({values['q1']:.2f} to {values['q3']:.2f})"


def _calls(row: dict[str, Any]) -> str:
    if "launches" in row:
        return f"{row['kernels']} kernels, {row['launches']} launches"
    if "calls" not in row:
        return ""
    return f"{row['calls']}" + (f" + {row['generated_kernels']} generated" if "generated_kernels" in row else "")


def _row(name: str, row: dict[str, Any], stock: dict[str, Any]) -> list[str]:
    if "seconds" not in row:
        return [name, "failed" if "failed" in row else "left out", *[""] * (len(HEADER) - 2)]
    peak = row["peak_bytes"]
    return [
        name,
        time_text(row["seconds"]["median"]),
        _spread(row["times"][STOCK]) if STOCK in row["times"] else "1",
        f"{row['forwards']:.2f}" if row["forwards"] else "",
        _calls(row),
        "" if peak is None else f"{peak / 1e6:.3g}",
        "" if peak is None else f"{peak / stock['peak_bytes']:.2f}",
        f"{row['gradient_error']:.1e}" if "gradient_error" in row else "",
    ]


def _case(case: dict[str, Any]) -> list[str]:
    rows = case["rows"]
    lines = [f"**{case['case']}** ({case['rounds']} rounds)", ""]
    lines += markdown(HEADER, [_row(name, row, rows[STOCK]) for name, row in rows.items()])
    said: dict[str, list[str]] = {}
    for name, row in rows.items():
        for text in (row.get("failed"), row.get("left_out"), row.get("note")):
            if text:
                said.setdefault(text, []).append(name)
    notes = [f"- {', '.join(names)}: {text}" for text, names in said.items()]
    unknown = sorted({operator for row in rows.values() for operator in row.get("unknown_operators", ())})
    if unknown:
        notes.append(f"- counted as calls, not in F: {', '.join(unknown)}")
    return [*lines, "", *notes, *([""] if notes else [])]


def _targets(result: dict[str, Any]) -> list[str]:
    judged = verdicts(result)
    if not judged:
        return ["A quick run is not judged.", ""] if result["quick"] else ["No target holds for these rows.", ""]
    words = {True: "met", False: "MISSED", None: "not measured"}
    return [
        *markdown(
            ["critic", "what", "at most", "measured", "by", ""],
            [
                [
                    v.case,
                    v.what,
                    f"{v.limit:.4g}",
                    "" if v.value is None else f"{v.value:.3f}",
                    v.provider,
                    words[v.met],
                ]
                for v in judged
            ],
        ),
        "",
    ]


def tables(result: dict[str, Any]) -> str:
    """The targets, the ceilings and one table per case."""
    ceilings = [
        [name, "failed" if "failed" in row else f"{row['rate']['median']:.4g} {row['unit']}"]
        for name, row in result["ceilings"].items()
    ]
    lines = [
        *_targets(result),
        "The machine's own speed:",
        "",
        *markdown(["", "median"], ceilings),
        "",
        *(line for case in result["cases"] for line in _case(case)),
        *(f"Left out, because the deadline had passed: {name}" for name in result["left_out"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def render(result: dict[str, Any]) -> str:
    """The whole page for one result."""
    machine = result["machine"]
    commit = result["commit"]
    head = [
        f"# Critic step: {machine.get('gpu', machine['cpu'])}, {result['date']}",
        "",
        "Written by the command below from the JSON of the same name; how to read it: docs/performance.md.",
        "",
        *markdown(["", ""], [[name, f"`{value}`"] for name, value in machine.items()]),
        f"| commit | `{commit.get('id', 'unknown')}`{' with uncommitted changes' if commit.get('dirty') else ''} |",
        "",
    ]
    return "\n".join(head) + "\n" + tables(result)


def _source(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"{machine.get('gpu', machine['cpu'])}, {machine['cpu_threads']} threads, torch {machine['torch']}, "
        f"{result['date']}: `{machine['command']}`"
    )


def whole(result: dict[str, Any], figure: str) -> str:
    """All tables and the figure."""
    return f"{_source(result)}\n\n![step time by provider]({figure})\n\n{tables(result)}"


def summary(result: dict[str, Any]) -> str:
    """One line per critic: the time of each float32 provider divided by stock's, and the operations."""
    names = [STOCK, "torch.compile", "JAX", *(name for name in PROVIDERS if name.startswith("gpgan"))]
    names = [name for name in names if any("seconds" in case["rows"].get(name, {}) for case in result["cases"])]
    lines = []
    for case in result["cases"]:
        rows = {name: case["rows"].get(name, {}) for name in names}
        times = [
            f"{row['times'][STOCK]['median']:.2f}" if STOCK in row.get("times", {}) else "1" if name == STOCK else ""
            for name, row in rows.items()
        ]
        ours = [row["forwards"] for name, row in rows.items() if name.startswith("gpgan") and row.get("forwards")]
        lines.append([case["case"], *times, f"{rows[STOCK]['forwards']:.2f}F", f"{max(ours):.2f}F"])
    table = markdown(["critic", *names, f"{STOCK}'s operations", "gpgan's"], lines)
    head = (
        "Time of one critic step with penalty as a multiple of stock eager PyTorch's, and its operations in F, one critic "
        "forward."
    )
    return "\n".join([f"{head} {_source(result)}", "", *table, ""])


def _colour(name: str) -> str:
    return next((colour for start, colour in COLOURS.items() if name.startswith(start)), "0.55")


def draw(result: dict[str, Any], path: Path) -> None:
    """One panel per critic: each provider's median time divided by stock's, with the quartiles."""
    cases = result["cases"]
    columns = 2 if len(cases) > 1 else 1
    lines = -(-len(cases) // columns)
    most = max(len(case["rows"]) for case in cases)
    figure = Figure(figsize=(5.8 * columns, lines * (1.1 + 0.27 * most)), dpi=130, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for panel in panels[len(cases) :]:
        panel.set_axis_off()
    for panel, case in zip(panels, cases, strict=False):
        timed = {name: row for name, row in case["rows"].items() if "seconds" in row}
        names = list(reversed(timed))
        same = {"median": 1.0, "q1": 1.0, "q3": 1.0}
        times = [timed[name]["times"].get(STOCK, same) for name in names]
        medians = [time["median"] for time in times]
        quartiles = [
            [m - time["q1"] for m, time in zip(medians, times, strict=True)],
            [time["q3"] - m for m, time in zip(medians, times, strict=True)],
        ]
        bars = panel.barh(
            names,
            medians,
            xerr=quartiles,
            color=[_colour(name) for name in names],
            hatch=["//" if name.endswith(HALF) else "" for name in names],
            edgecolor="white",
            ecolor="0.2",
        )
        panel.bar_label(bars, [f"{median:.2f}" for median in medians], padding=5, fontsize="small")
        panel.axvline(1, color="0.3", linewidth=0.8, linestyle=":")
        panel.margins(x=0.14)
        panel.tick_params(axis="y", labelsize="small")
        panel.set(title=case["case"], xlabel="step time / stock eager (below 1: faster)", xlim=(0, None))
    figure.savefig(path)
