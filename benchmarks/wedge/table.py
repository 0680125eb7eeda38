"""The table and the pictures of docs/missing_wedge.md, from committed results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.runs.text import joined, spread
from benchmarks.table import markdown
from benchmarks.wedge.cases import CASES
from gpgan.wedge.baselines import BASELINES

BEGIN, END = "<!-- wedge: written by python -m benchmarks.wedge -->", "<!-- wedge: end -->"
Run = dict[str, Any]
# Of a method's scores: the head of its column and the form of a number.
COLUMNS = {
    "s": ("S", "{:.3f}"),
    "wedge_correlation": ("wedge correlation", "{:.3f}"),
    "resolution": ("FSC .5, A", "{:.0f}"),
    "within": ("truth within one deviation", "{:.2f}"),
    "distance": ("W1", "{:.4g}"),
    "distance_floor": ("W1, floor", "{:.4g}"),
}
# Cases whose pictures are shown.
PICTURED = ("cryowgen", "cryogen-1", "distilled")


def of_case(result: dict[str, Any], name: str) -> list[Run]:
    return [run for run in result["runs"] if run["case"] == name]


def own(run: Run) -> dict[str, float]:
    """The scores of the method itself, among those of the baselines."""
    [found] = [scores for name, scores in run["scores"].items() if name not in BASELINES]
    return dict(found)


def block(result: dict[str, Any], name: str) -> str:
    """All cases, the baselines on the same particles, and pictures."""
    rows = []
    for case in CASES.values():
        runs = of_case(result, case.name)
        if not runs:
            continue
        cells = [spread([own(run).get(column) for run in runs], form) for column, (_, form) in COLUMNS.items()]
        cost = spread([run["cpu_seconds"] for run in runs], "{:.0f}")
        purity = spread([run["purity"] for run in runs], "{:.2f}") if len(case.structures) > 1 else "-"
        rows.append([case.label, cost, *cells, purity])
    header = ["", "CPU seconds", *(head for head, _ in COLUMNS.values()), "purity"]
    seeds = len({run["seed"] for run in result["runs"]})
    return joined(
        f"512 simulated particles to fit and 56 held out, 24 x 24 x 24 voxels of 15 angstroms, tilts from -60 to 60 degrees, one "
        f"core, {seeds} seeds: mean ± deviation. {result['machine']['cpu']}, torch {result['machine']['torch']}, {result['date']}: "
        f"`{result['machine']['command']}`; [every run](../benchmarks/results/{name})",
        markdown(header, rows),
        "The same held-out particles, restored without learning:",
        baselines(result),
        [
            line
            for case in PICTURED
            for line in (f"![{CASES[case].label}: slices of held-out particles](images/wedge/{case}-samples.png)", "")
        ],
    )


def baselines(result: dict[str, Any]) -> Sequence[str]:
    """S of each baseline at each signal-to-noise ratio, on the ribosome."""
    by_snr: dict[float, list[Run]] = {}
    for case in CASES.values():
        if not case.control and len(case.structures) == 1:
            by_snr.setdefault(case.snr, []).extend(of_case(result, case.name))
    rows = []
    for name in BASELINES:
        cells = []
        for runs in by_snr.values():
            # Cases of one seed share their particles.
            first = {run["seed"]: run for run in reversed(runs)}
            cells.append(spread([run["scores"][name]["s"] for run in first.values()], "{:.3f}"))
        rows.append([name, *cells])
    return markdown(["S", *(f"SNR {snr:g}" for snr in by_snr)], rows)
