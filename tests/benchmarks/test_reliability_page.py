"""The table of docs/reliability.md: the counts are those of the committed run, of every fuzzer, and enough."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import reliability

ROOT = Path(reliability.__file__).parents[1]
FUZZERS = sorted(path.stem.removeprefix("test_") for path in (ROOT / "tests" / "fuzz").glob("test_*.py"))
# What docs/reliability.md is expected to show at least.
LEAST = {"kills": 200, "bit_flips": 300, "hostile_calls": 3000, "file_mutants": 1000}


def test_the_page_shows_the_committed_counts() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "reliability.json").read_text("utf-8"))["rows"]
    assert sorted(rows) == sorted(reliability.TRIED) == FUZZERS
    assert reliability.table(rows) in (ROOT / "docs" / "reliability.md").read_text("utf-8")
    for name, row in rows.items():
        assert row["tried"] == sum(row["outcomes"].values()) >= LEAST.get(name, 1)


@pytest.mark.parametrize("name", FUZZERS)
def test_a_row_has_all_cases_of_its_fuzzer(name: str) -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "reliability.json").read_text("utf-8"))["rows"]
    [many] = re.findall(r"many=(\d+)", (ROOT / "tests" / "fuzz" / f"test_{name}.py").read_text("utf-8"))
    assert rows[name]["tried"] == int(many) * (20 if name == "many_threads" else 1)


def test_some_fuzzers_alone_leave_the_other_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, docs = tmp_path / "counts", tmp_path / "docs"
    docs.mkdir()
    (docs / "reliability.md").write_text(f"before\n{reliability.BEGIN}\nold\n{reliability.END}\nafter\n")
    old = {"tried": 1, "outcomes": {"refused": 1}, "date": "2026-01-01"}
    (tmp_path / "reliability.json").write_text(json.dumps({"rows": {"two_trainers": old, "kills": old}}))

    def fuzz(names: list[str], folder: Path) -> int:
        folder.mkdir()
        for name in names:
            (folder / f"test_{name}.json").write_text('{"tried": 3, "outcomes": {"done": 2, "refused": 1}}')
        return 0

    monkeypatch.setattr(reliability, "fuzz", fuzz)
    folders = ["--counts", str(counts), "--docs", str(docs), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["reliability", "kills", *folders])
    assert reliability.main() == 0
    rows = json.loads((tmp_path / "reliability.json").read_text())["rows"]
    assert list(rows) == ["kills", "two_trainers"]
    assert (rows["kills"]["tried"], rows["two_trainers"]) == (3, old)
    page = (docs / "reliability.md").read_text()
    assert "| 3 | 2 done; 1 refused |" in page
    assert "old" not in page
