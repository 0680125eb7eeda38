"""The benchmarks compare like with like, and write what they measured."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import measure, providers, table

ROOT = Path(__file__).parents[2]
SHAPES = ((6, 5), (6, 3, 8, 8), (4, 1, 4, 4, 4))

# Eager bfloat16 rounds after every operation; its norms and penalties cancel.
TOLERANCES = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, torch.bfloat16: {"rtol": 5e-2, "atol": 5e-2}}


@pytest.fixture(autouse=True)
def _capture_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile's capture and autograd, run with eager kernels: only values are compared here."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    providers._compiled_for.cache_clear()


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operation", list(providers.OPERATIONS))
def test_providers_agree(operation: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    calls = providers.OPERATIONS[operation].make(providers.make_inputs(shape, dtype, "cpu"))
    assert list(calls) == ["gpgan", "plain", "best", "compiled"]
    expected = calls["gpgan"]()
    for name in ("plain", "best", "compiled"):
        got = calls[name]()
        assert len(got) == len(expected)
        for value, reference in zip(got, expected, strict=True):
            assert value.shape == reference.shape
            torch.testing.assert_close(value.float(), reference.float(), **TOLERANCES[dtype])


def test_a_zero_gradient_gives_every_one_pass_form_a_zero_row() -> None:
    inputs = providers.make_inputs((4, 7), torch.float32, "cpu")
    inputs.grads[2] = 0
    for call in providers.one_pass(inputs).values():
        direction = call()[2]
        assert not direction[2].any()
        assert direction[1].all()


class CountingClock:
    """A clock on which each call takes the number of seconds that it returns."""

    def __init__(self) -> None:
        self.order: list[float] = []

    def seconds(self, call: measure.Call, repeats: int) -> float:
        self.order.append(call())
        return self.order[-1]


def test_rounds_take_the_providers_in_turn_and_ratios_round_by_round() -> None:
    clock = CountingClock()
    calls = {"gpgan": lambda: 2.0, "best": lambda: 3.0, "copy": lambda: 1.0}
    run = measure.Interleaved(clock, calls, budget=30.0, rounds=(3, 9))
    assert run.rounds == 5
    clock.order.clear()
    for _ in range(run.rounds):
        run.others()
        before = run.timer()
        run.first()
        assert run.timer() - before == 2
    assert clock.order == [3, 1, 2] * 5
    rows = measure.summary(run, size=10**9, moved=3)
    assert rows["best"]["times_first"] == {"median": 1.5, "q1": 1.5, "q3": 1.5}
    assert rows["gpgan"]["gb_per_s"] == pytest.approx(1.5)
    assert rows["gpgan"]["percent_of_copy"] == pytest.approx(75)


def test_a_provider_that_fails_is_named_and_the_others_are_timed() -> None:
    def fail() -> float:
        raise ValueError("no such thing\nand more")

    run = measure.Interleaved(
        CountingClock(), {"gpgan": lambda: 2.0, "best": fail, "copy": lambda: 1.0}, budget=1.0, rounds=(3, 3)
    )
    for _ in range(run.rounds):
        run.others()
        run.first()
    rows = measure.summary(run, size=1, moved=1)
    assert rows["best"] == {"failed": "ValueError: no such thing"}
    assert set(rows) == {"gpgan", "best", "copy"}


def row(**changes: Any) -> dict[str, Any]:
    times = {"median": 1.6, "q1": 1.5, "q3": 1.7}
    base: dict[str, Any] = {
        "device": "cpu",
        "operation": "one_pass",
        "bytes": 50 << 20,
        "providers": {"gpgan": {"percent_of_copy": 84.0}, "best": {"times_first": times}},
    }
    return base | changes


def test_targets() -> None:
    slower = copy.deepcopy(row())
    slower["providers"]["best"]["times_first"]["median"] = 1.4
    assert table.verdict(row()) == ("1.5 x best", True)
    assert table.verdict(slower) == ("1.5 x best", False)
    assert table.verdict(slower | {"bytes": 1 << 20}) == ("0.9 x best", True)
    assert table.verdict(row(operation="interpolate")) is None
    assert table.verdict(row(device="cuda", bytes=64 << 20)) == ("85 % of copy", False)
    assert table.verdict(row(device="cuda", bytes=8 << 20)) is None


def test_a_quick_run_writes_a_row_for_everything(tmp_path: Path) -> None:
    # pytest-benchmark measures nothing in a process of pytest-xdist.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path)],
        env=alone,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = tmp_path.glob("*.json")
    content = result.read_text()
    assert str(ROOT) not in content
    assert "node" not in json.loads(content)["machine_info"]
    rows = [benchmark["extra_info"] for benchmark in json.loads(content)["benchmarks"]]
    assert [info["kind"] for info in rows] == ["ceiling"] + ["operation"] * 20
    for info in rows[1:]:
        assert set(info["providers"]) == {"gpgan", "plain", "best", "copy"}
        for name, provider in info["providers"].items():
            spread = provider["seconds"]
            assert 0 < spread["q1"] <= spread["median"] <= spread["q3"]
            assert (name == "gpgan") == ("times_first" not in provider)
    page = result.with_suffix(".md").read_text()
    assert page in done.stdout
    read, write, copied = (rows[0]["providers"][name]["seconds"]["median"] for name in ("read", "write", "copy"))
    assert f"at most {(read + copied) / (read + write):.2f} times" in page
    assert len(re.findall(r"^\| \w+ \| 64x.*\|$", page, re.MULTILINE)) == 20
    assert len(re.findall(r"^\| one_pass \| 64x.*(?:met|MISSED) \|$", page, re.MULTILINE)) == 4
