"""The table of shares in docs/penalty.md, and the border that it is the reason for."""

from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path

import pytest

from benchmarks import coupling
from gpgan.penalty import probe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def record() -> dict:
    [newest] = sorted((ROOT / "benchmarks" / "results").glob("*-coupling-*.json"))[-1:]
    return json.loads(newest.read_text("utf-8"))


def test_the_page_has_the_table_of_the_newest_run(record: dict) -> None:
    page = (ROOT / "docs" / "penalty.md").read_text("utf-8")
    assert coupling.table(record["rows"]) in page
    for row in record["rows"]:
        assert (row["smallest"], row["largest"]) == (min(row["shares"]), max(row["shares"]))


def test_the_border_lies_between_both_kinds(record: dict) -> None:
    assert record["border"] == probe.MOST_COUPLED
    for row in record["rows"]:
        if row["kind"] == coupling.STATISTICS:
            assert row["smallest"] > probe.MOST_COUPLED, row["critic"]
        else:
            assert row["largest"] < probe.MOST_COUPLED, row["critic"]


@pytest.mark.parametrize("name", coupling.CRITICS)
def test_the_shares_are_those_of_the_code(name: tuple[str, str], record: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coupling, "SEEDS", 1)
    monkeypatch.setattr(coupling, "BATCHES", coupling.BATCHES[:1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Lazy modules")
        [share] = coupling.initialised(*coupling.CRITICS[name])
    [row] = [row for row in record["rows"] if (row["kind"], row["critic"]) == name]
    assert share == pytest.approx(row["shares"][0], rel=1e-3, abs=1e-6)


def test_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coupling, "TRAINED_EVERY", 1)
    for how in coupling.TRAINED.values():
        assert all(0 < share < 10 for share in itertools.islice(coupling.trained(*how), 2))
