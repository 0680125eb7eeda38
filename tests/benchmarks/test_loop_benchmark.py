"""The benchmark of the loop counts what it says it counts, and detects a slow loop."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import loop
from gpgan import CriticStep
from gpgan.records.recorder import Recorder
from gpgan.records.stats import Stats

QUICK_STEPS = 4  # of a period


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def quick(data: str = "digits", periods: int = 2) -> dict[str, Any]:
    return loop.measure_data(data, "cpu", quick=True, periods=periods)


def test_parts_take_as_many_steps_as_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[int, int] = {}
    step = CriticStep.__call__

    def counted(self: CriticStep, *args: Any, **kwargs: Any) -> Any:
        calls[id(self)] = calls.get(id(self), 0) + 1
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CriticStep, "__call__", counted)
    case = quick()
    assert case["period"] == QUICK_STEPS
    assert case["periods"] == 2
    # The run and the rounds have a critic each, with a warm-up step; steps and updates share one.
    once = (2 * QUICK_STEPS + 1) * case["n_critic"]
    assert sorted(calls.values()) == [once, once, 2 * once]


def test_a_slow_loop_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    tick = Recorder.tick

    def slow(self: Recorder, *args: Any) -> None:
        time.sleep(0.8)  # every other step
        tick(self, *args)

    def records(case: dict[str, Any]) -> float:
        return float(case["seconds"]["fit"]["median"] - case["seconds"]["rounds"]["median"])

    assert records(quick()) < 0.4
    monkeypatch.setattr(Recorder, "tick", slow)
    case = quick()
    assert records(case) > 0.4
    assert case["times_steps"]["q3"] > 0.4 / case["seconds"]["steps"]["q3"]


def test_a_run_does_not_see_the_time_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []
    tick, updates = Recorder.tick, loop.Steps.updates

    def noted(self: Recorder, stats: Stats, last: bool) -> None:
        seen.append((time.perf_counter(), stats.seconds))
        tick(self, stats, last)

    def slow(self: loop.Steps) -> None:
        time.sleep(0.2)
        updates(self)

    monkeypatch.setattr(Recorder, "tick", noted)
    monkeypatch.setattr(loop.Steps, "updates", slow)
    quick()
    (first, its_first), *_, (last, its_last) = seen
    assert 0 < its_first < its_last
    # The first tick is after the first pause, the last one after the last pause, for a chunk of two steps: six are between.
    assert (last - first) - (its_last - its_first) > 6 * 0.2


def test_chunks_are_summed_up_to_periods() -> None:
    seconds = {
        "fit": [1.0, 1.2, 2.0, 2.0, 1.0, 1.1],
        "updates": [0.8, 0.8, 1.5, 1.5, 0.8, 0.8],
        "steps": [1.0, 1.0, 2.0, 2.0, 1.0, 1.0],
        "rounds": [0.9] * 6,
    }
    got = loop.summary(seconds, period=4, chunk=2)
    assert got["periods"] == 3
    assert got["seconds"]["fit"]["median"] == pytest.approx(2.2 / 4)
    assert got["seconds"]["rounds"] == pytest.approx({"median": 0.45, "q1": 0.45, "q3": 0.45})
    assert got["times_steps"] == pytest.approx({"median": 1.05, "q1": 1.025, "q3": 1.075})
    assert got["times_updates"]["median"] == pytest.approx(4 / 3)
    assert got["times_steps_in_all"] == pytest.approx(8.3 / 8)


def case_of(ratio: float) -> dict[str, Any]:
    spread = {"median": ratio, "q1": ratio - 0.01, "q3": ratio + 0.01}
    seconds = {
        name: {"median": s, "q1": s, "q3": s}
        for name, s in (("fit", 0.104), ("updates", 0.09), ("steps", 0.1), ("rounds", 0.102))
    }
    return {
        "data": "digits",
        "network": "mlp 256",
        "batch": 64,
        "n_critic": 3,
        "threads": 1,
        "period": 500,
        "periods": 5,
        "seconds": seconds,
        "times_steps": spread,
        "times_updates": spread,
        "times_steps_in_all": ratio,
        "start_and_end_seconds": 1.0,
    }


@pytest.mark.parametrize(("ratio", "word", "status"), [(1.04, "met", 0), (1.06, "MISSED", 1)])
def test_results_are_judged(
    ratio: float,
    word: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loop, "measure_data", lambda *_: case_of(ratio))
    monkeypatch.setattr(loop, "use_threads", lambda _: None)
    options = argparse.Namespace(
        device="cpu", quick=False, only="digits", deadline=None, memory="fresh", output=tmp_path
    )
    assert loop.main(options, "loop") == status
    page = capsys.readouterr().out
    (row,) = [line for line in page.splitlines() if line.startswith("| digits:")]
    assert f"{ratio:.3f} ({ratio - 0.01:.3f} to {ratio + 0.01:.3f}), {word} |" in row
    # Of 104 ms: 90 updates, 10 fakes, 2 drawing, 2 records.
    assert "| 104 ms | 86.5 | 9.6 | 1.9 | 1.9 |" in row
    (written,) = tmp_path.glob("*-loop-*.json")
    assert written.with_suffix(".md").read_text() == page
    assert loop.render(json.loads(written.read_text())) == page


def test_what_is_not_installed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise ValueError("data is 'fashion' and is not there")

    monkeypatch.setattr(loop, "measure_data", missing)
    options = argparse.Namespace(
        device="cpu", quick=True, only="fashion", deadline=None, memory="fresh", output=tmp_path
    )
    assert loop.main(options, "loop") == 1
    (page,) = tmp_path.glob("*.md")
    assert "- fashion: left out, data is 'fashion' and is not there" in page.read_text()
    options.only = "nothing"
    with pytest.raises(SystemExit, match="no data set's name contains 'nothing'"):
        loop.main(options, "loop")
