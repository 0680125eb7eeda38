"""The benchmark of the critic step counts correctly, compares like with like, and says what it did not measure."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.critic_step import ceilings, counting, critics, providers, report, run, targets
from benchmarks.critic_step.providers import PROVIDERS, Gpgan, Provider, Stock
from benchmarks.documents import write_into

ROOT = Path(__file__).parents[2]
FOREVER = run.Deadline()
CASES = critics.cases("cpu", quick=True)
SHAPES = [CASES[0], *CASES[2:]]  # the two MLPs differ only in width
ROUNDING = 1e-4  # no activation of these small critics is close enough to 0 to change its sign
NO_JAX = "JAX is not installed (pip install 'gpgan[bench]')"


@pytest.fixture(autouse=True)
def _one_thread_and_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile's capture and autograd, run with eager kernels."""
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))


def problem(make: Any, width: int, sample: tuple[int, ...], batch: int) -> critics.Problem:
    return critics.make_problem(critics.Case("critic", make, width, sample, batch), "cpu", "float32")


def operations(given: critics.Problem, **options: Any) -> int:
    step = Stock(given, **options)
    step()
    return counting.count(step).operations


def test_operations_of_stock_on_an_mlp_are_those_counted_by_hand() -> None:
    batch, first, last = 8, 2 * 512, 512
    weights = first + 2 * 512 * 512 + last
    # Real and fake: one product per layer for the forward, the weight gradient and, except in the first, the input gradient.
    plain = 2 * (3 * weights - first)
    # x: the forward, its gradient, then back through the gradient's graph (the seed of ones needs no gradient, hence - last)
    # and through the forward's, where the zeros begin before the last layer.
    penalty = weights + weights + (2 * weights - last) + 2 * (weights - last)
    given = problem(critics.mlp, 512, (2,), batch)
    assert operations(given, penalty=False) == 2 * batch * plain
    assert operations(given) == 2 * batch * (plain + penalty)
    assert counting.count(lambda: given.net(given.real)).operations == 2 * batch * weights
    assert (plain + penalty) / weights == pytest.approx(11.99, abs=5e-3)


def test_operations_of_stock_on_dcgan_are_those_known() -> None:
    given = problem(critics.dcgan, 32, (3, 64, 64), 2)
    forward = counting.count(lambda: given.net(given.real)).operations
    pixels, channels = (32 * 32, 16 * 16, 8 * 8, 4 * 4), pairwise((3, 32, 64, 128, 256))
    by_hand = sum(16 * p * i * o for p, (i, o) in zip(pixels, channels, strict=True)) + 256 * 16
    assert forward == 2 * 2 * by_hand
    assert operations(given) / forward == pytest.approx(11.88, abs=5e-3)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_operations_hidden_in_onednn_or_under_inference_mode_are_counted() -> None:
    x, layer = torch.randn(3, 5, 7), nn.Linear(7, 11)
    counter = counting.count(
        lambda: torch.ops.mkldnn._linear_pointwise(x, layer.weight.detach(), layer.bias.detach(), "none", [], "")
    )
    assert counter.operations == 2 * 3 * 5 * 7 * 11
    assert counter.unknown() == []
    with torch.inference_mode():
        assert counting.count(lambda: layer(x)).operations == 2 * 3 * 5 * 7 * 11


def test_operations_of_compiled_code_are_those_of_its_graph() -> None:
    x, w = torch.randn(6, 10), torch.randn(10, 10)
    compiled = torch.compile(lambda x, w: torch.relu(x @ w) @ w, backend="inductor")
    with counting.compiled_operations() as graphs:
        compiled(x, w)
        compiled(x, w)
    assert graphs == [2 * 2 * 6 * 10 * 10]


def test_an_operator_without_a_formula_is_named() -> None:
    given = problem(critics.mlp, 8, (2,), 4)
    assert counting.count(Gpgan(given)).unknown()
    assert counting.count(Stock(given)).unknown() == []


def test_peak_memory_is_that_of_tensors_alive_together_once_it_looks() -> None:
    kept = []
    with counting.peak_memory("cpu") as peak:
        kept.append(torch.empty(1000))
        large = torch.empty(100_000)
        del large
        peak.look()
        small = torch.empty(200)
        del small
        kept.append(torch.empty(300))
    assert peak.bytes == 4 * (1000 + 300)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", SHAPES, ids=lambda case: case.name)
def test_every_provider_of_pytorch_has_the_same_gradients(case: critics.Case, precision: str) -> None:
    torch._dynamo.reset()
    case = dataclasses.replace(case, precision=precision, bfloat16_too=False)
    alpha = torch.rand(case.batch)
    exact = Stock(critics.make_problem(case, "cpu", "float64"))
    exact(alpha.double())
    expected, limit = run.gradients_of(exact), None
    for name, (provider, _) in run.rows_of(case, "cpu", quick=False).items():
        if provider.optional or not provider.penalised:
            continue
        step = provider.make(critics.make_problem(case, "cpu", precision))
        step(alpha)
        error = run.gradient_error(run.gradients_of(step), expected)
        limit = 2 * error + ROUNDING if limit is None else limit
        assert error <= limit, name
        before = [gradient.copy() for gradient in run.gradients_of(step)]
        step()  # with an alpha of its own
        assert run.gradient_error(run.gradients_of(step), before) > limit, name


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason=NO_JAX)
@pytest.mark.parametrize("case", SHAPES, ids=lambda case: case.name)
def test_jax_has_the_same_gradients_and_moves_the_same_way(case: critics.Case) -> None:
    alpha = torch.rand(case.batch)
    stock, other = (critics.make_problem(case, "cpu", "float32") for _ in range(2))
    expected, jax_step = Stock(stock), providers.jax_step(other)
    for _ in range(2):  # the second step starts from the parameters that the first updated
        expected(alpha)
        jax_step(alpha)
        assert run.gradient_error(run.gradients_of(jax_step), run.gradients_of(expected)) < ROUNDING
    counts = jax_step.own_counts()
    assert counts["peak_bytes"] > 0
    assert 9 < counts["forwards"] < 12


def small(monkeypatch: pytest.MonkeyPatch, **others: Provider) -> dict[str, Any]:
    """A case's rows with stock, stock without penalty and the given providers."""
    chosen = {name: PROVIDERS[name] for name in (run.STOCK, run.UNPENALISED)}
    monkeypatch.setattr(run, "PROVIDERS", chosen | others)
    return run.measure(CASES[0], "cpu", True, FOREVER)["rows"]


class WrongWeight(Stock):
    def loss(self, alpha: torch.Tensor | None) -> torch.Tensor:
        return super().loss(alpha) * 1.01


def test_wrong_gradients_are_caught_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = small(monkeypatch, wrong=Provider(WrongWeight), right=Provider(Stock))
    assert "the error of its gradients" in rows["wrong"]["failed"]
    assert "seconds" not in rows["wrong"]
    assert rows["right"]["gradient_error"] == rows["stock"]["gradient_error"]
    assert rows["right"]["times"]["stock"]["median"] > 0
    assert rows["stock, no penalty"]["peak_bytes"] < rows["stock"]["peak_bytes"]


class Slow(Stock):
    pass


class KnownClock:
    def __init__(self, device: str) -> None:
        assert device == "cpu"

    def seconds(self, call: Any, repeats: int) -> float:
        return 3.0 if isinstance(call, Slow) else 2.0


def test_ratios_are_times_over_that_of_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WallClock", KnownClock)
    rows = small(monkeypatch, slow=Provider(Slow))
    assert rows["slow"]["seconds"]["median"] == 3
    same = {"median": 1.5, "q1": 1.5, "q3": 1.5}
    assert rows["slow"]["times"] == {"stock": same, "stock, no penalty": same}
    assert list(rows["stock"]["times"]) == ["stock, no penalty"]


def missing(given: critics.Problem) -> Stock:
    raise ImportError("No module named 'jax'")


def test_what_is_missing_is_left_out_and_what_raises_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = small(monkeypatch, JAX=Provider(missing, optional=True), broken=Provider(lambda given: given.no_such_thing))
    assert rows["JAX"] == {"left_out": "ImportError: No module named 'jax'"}
    assert rows["broken"]["failed"].startswith("AttributeError")
    assert "seconds" in rows["stock"]


def test_past_the_deadline_providers_are_left_out_and_compiling_ends_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"stock": Provider(Stock), "compiled": Provider(Stock, inductor=True), "other": Provider(Stock)}
    monkeypatch.setattr(run, "PROVIDERS", given)
    monkeypatch.setattr(run, "BUDGET", {"cpu": run.QUICK})
    for deadline, left_out in (
        (run.Deadline(), set()),
        (run.Deadline(compiling=0.0), {"compiled"}),
        (run.Deadline(compiling=0.0, all=0.0), {"compiled", "other"}),
    ):
        rows = run.measure(CASES[0], "cpu", False, deadline)["rows"]
        assert {name for name, row in rows.items() if row == {"left_out": "the deadline had passed"}} == left_out
        assert {name for name, row in rows.items() if "seconds" in row} == set(rows) - left_out
    halved = run.Deadline.after(100.0)
    assert halved.all - halved.compiling == pytest.approx(50, abs=1)


def test_gradient_error() -> None:
    a, b = (torch.tensor(values).double().numpy() for values in ([3.0, 4.0], [0.0]))
    assert run.gradient_error([a * 1.01, b], [a, b]) == pytest.approx(0.01)
    assert run.gradient_error([a, b + 5e-5], [a, b]) == pytest.approx(0.01)
    assert run.gradient_error([a, b * math.nan], [a, b]) == math.inf
    assert run.gradient_error([a], [a, b]) == math.inf


def row(stock: float, jax: float, forwards: float = 10.0, peak: float = 70.0) -> dict[str, Any]:
    times = {name: {"median": value, "q1": value, "q3": value} for name, value in (("stock", stock), ("JAX", jax))}
    return {"forwards": forwards, "peak_bytes": peak, "times": times}


def test_targets_are_judged_on_the_fastest_row_and_on_the_most_operations() -> None:
    rows = {
        "stock": row(1.0, 2.0, 12.0, 100.0),
        "gpgan general": row(0.8, 1.6, 10.1),
        "gpgan scheduled": row(0.5, 0.9, 9.9, 90.0),
        "gpgan compiled": row(0.1, 0.1, 1.0) | {"failed": "wrong"},
    }
    case = {"case": "DCGAN 32, B 32", "critic": "DCGAN", "width": 32, "precision": "float32", "rows": rows}
    result = {"quick": False, "device": "cpu", "cases": [case]}
    judged = {v.what: (v.value, v.provider, v.met) for v in targets.verdicts(result)}
    assert judged == {
        "operations in F": (10.1, "gpgan general", False),
        "time / stock": (0.5, "gpgan scheduled", True),
        "time / stock without penalty": (None, "", None),
        "time under bfloat16 autocast / stock in float32": (None, "", None),
        "peak memory / stock": (0.9, "gpgan scheduled", False),
    }
    rows["gpgan graph"] = row(0.55, 1.01)
    del rows["gpgan scheduled"]
    on_gpu = [case | {"precision": "bfloat16", "width": 64}, case | {"critic": "ResNet", "precision": "tf32"}]
    judged_there = targets.verdicts({"quick": False, "device": "cuda", "cases": on_gpu})
    assert [(v.what, v.value, v.met) for v in judged_there] == [
        ("time / stock", 0.55, True),
        ("time / JAX", 1.01, False),
        ("time / JAX", 1.01, False),
    ]
    assert targets.verdicts(result | {"quick": True}) == []


def test_gpu_cases_begin_with_what_is_judged_and_hold_every_critic_in_every_precision() -> None:
    names = [(case.critic, case.precision) for case in critics.cases("cuda", quick=False)]
    assert names[:2] == [("MLP 64", "float32"), ("DCGAN 64", "bfloat16")]
    assert len(names) == len(set(names)) == 12


def test_ceilings_have_a_rate_each() -> None:
    rows = ceilings.ceilings("cpu", quick=True)
    assert {"torch.mm float32", "torch.mm bfloat16", "copy"} <= set(rows)
    assert all("failed" in row or row["rate"]["median"] > 0 for row in rows.values())
    assert "failed" not in rows.get("mkldnn._linear_pointwise float32", {})


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("results")
    document = folder / "page.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    readme = folder / "readme.md"
    readme.write_text(f"before\n{report.BEGIN}\n{report.END}\nafter\n")
    options = ["--quick", "-k", "DCGAN", "--output", str(folder), "--doc", str(document), "--readme", str(readme)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "critic_step", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    return done, folder


def test_a_quick_run_writes_its_rows_page_and_figure(
    quick_run: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, folder = quick_run
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = folder.glob("*-critic-step-*.json")
    content = json.loads(result.read_text())
    assert str(ROOT) not in result.read_text()
    assert content["machine"]["command"] == "python -m benchmarks critic_step --device cpu --quick -k 'DCGAN'"
    (case,) = content["cases"]
    assert list(case["rows"]) == [
        "stock", "JAX", "gpgan general", "gpgan scheduled", "stock, fused Adam", "stock, no penalty",
        "stock, bfloat16", "gpgan general, bfloat16", "gpgan scheduled, bfloat16",
    ]  # fmt: skip
    for name, row in case["rows"].items():
        if "left_out" in row:
            assert name == "JAX"
            continue
        assert 0 < row["seconds"]["q1"] <= row["seconds"]["median"] <= row["seconds"]["q3"]
        assert row["forwards"] > 5
        assert row["peak_bytes"] > 0
        assert ("stock" in row["times"]) == (name != "stock")
        assert ("gradient_error" in row) == (name != "stock, no penalty")
    page = result.with_suffix(".md").read_text()
    assert done.stdout == page
    assert len(re.findall(r"^\| (?:stock|gpgan \w|JAX).*\|$", page, re.MULTILINE)) == 9
    assert result.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_run_puts_its_tables_into_a_document(quick_run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, folder = quick_run
    text = (folder / "page.md").read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    assert "| gpgan scheduled |" in text
    (picture,) = folder.glob("*.png")
    assert f"]({picture.name})" in text
    readme = (folder / "readme.md").read_text()
    assert "| gpgan scheduled |" in readme
    assert re.search(r"^\| DCGAN .*\| 1 \|.*F \|$", readme, re.MULTILINE)
    assert readme.endswith(f"{report.END}\nafter\n")


def test_a_document_without_markers_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("no markers\n")
    with pytest.raises(ValueError, match=r"page\.md lacks '<!-- critic_step"):
        write_into(document, report.BEGIN, report.END, "text")
    assert document.read_text() == "no markers\n"
