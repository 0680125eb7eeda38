"""Every table and figure that a document shows between markers, each made from committed results alone.

``python -m benchmarks.runs --documents`` writes them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import coupling, default, lazy, reliability, superresolve
from benchmarks.critic_step import report
from benchmarks.documents import write_into
from benchmarks.runs.tables import TABLES
from benchmarks.toy import table as toy
from benchmarks.wedge import table as wedge

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
Results = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """A part of a document.

    Attributes:
        document: Its path in the repository.
        begin, end: The markers.
        text: What is between them, from the folder of the results.
    """

    document: str
    begin: str
    end: str
    text: Callable[[Path], str]


def newest(kind: str, render: Callable[[Results, str], str]) -> Callable[[Path], str]:
    """Renders the newest result whose name matches a pattern, given its content and the name of its file."""

    def text(results: Path) -> str:
        path = max(results.glob(kind), key=lambda path: path.stem[-10:], default=None)
        if path is None:
            return "Not run yet.\n"
        return render(json.loads(path.read_text("utf-8")), path.name)

    return text


def run_table(name: str) -> Callable[[Path], str]:
    """A table of training runs at every scale that it was run at."""

    def text(results: Path) -> str:
        found = [TABLES[name].text(result) for result in results_of(name, results)]
        return "\n".join(found) if found else f"Not run yet: `python -m benchmarks.runs {name}`.\n"

    return text


def results_of(name: str, results: Path, scales: Sequence[str] = ("small", "full")) -> list[Results]:
    """The results of a table of training runs."""
    paths = [results / "runs" / name / f"{scale}.json" for scale in scales]
    return [json.loads(path.read_text("utf-8")) for path in paths if path.exists()]


def run_block(document: str, name: str) -> Block:
    begin = f"<!-- runs {name}: written by python -m benchmarks.runs --documents -->"
    return Block(document, begin, f"<!-- runs {name}: end -->", run_table(name))


ON_PRESETS = ("presets", "choices")
CRITIC_STEP = "*-critic-step-*.json"
BLOCKS = (
    *(run_block("docs/presets.md" if name in ON_PRESETS else "docs/runs.md", name) for name in TABLES),
    Block("README.md", report.BEGIN, report.END, newest(CRITIC_STEP, lambda result, name: report.summary(result))),
    Block(
        "docs/performance.md",
        report.BEGIN,
        report.END,
        newest(CRITIC_STEP, lambda result, name: report.whole(result, f"../benchmarks/results/{Path(name).stem}.png")),
    ),
    Block(
        "README.md",
        toy.BEGIN,
        toy.END,
        newest("toy-*.json", lambda result, name: toy.summary(result, f"{Path(name).stem}.md")),
    ),
    Block("README.md", default.BEGIN, default.END, newest("*-default-*.json", default.summary)),
    Block("docs/presets.md", default.BEGIN, default.END, newest("*-default-*.json", default.block)),
    Block("docs/penalty.md", coupling.BEGIN, coupling.END, newest("*-coupling-*.json", coupling.block)),
    Block("docs/objectives.md", lazy.BEGIN, lazy.END, newest("*-lazy-*.json", lazy.block)),
    Block("docs/tasks.md", superresolve.BEGIN, superresolve.END, newest("*-superresolve-*.json", superresolve.block)),
    Block("docs/missing_wedge.md", wedge.BEGIN, wedge.END, newest("*-wedge-*.json", wedge.block)),
    Block(
        "docs/reliability.md",
        reliability.BEGIN,
        reliability.END,
        newest("reliability.json", lambda result, name: reliability.table(result["rows"])),
    ),
)


def write_all(root: Path, results: Path) -> None:
    """Writes every block into the documents of a copy of the repository's root."""
    for block in BLOCKS:
        write_into(root / block.document, block.begin, block.end, block.text(results))
