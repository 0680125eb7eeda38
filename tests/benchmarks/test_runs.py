"""Benchmarked training runs: their plans, slices, interruptions, load, results and figures, on tiny settings."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.runs import __main__ as runs
from benchmarks.runs import architectures, conditional, penalty, presets, quality, run, slice, stacked, text
from benchmarks.runs.plan import MOST_MINUTES, Table
from benchmarks.runs.tables import TABLES
from gpgan.data import load
from gpgan.tasks.configure import configure
from gpgan.training.trainer import Trainer

ROOT = Path(run.ROOT)
MEASURED = ("kd", "fd", "fd_infinity", "precision", "recall", "coverage", "class_kl", "copied_share")
FLOORS = {"kd": 11.0, "precision": 0.9, "recall": 0.89, "coverage": 0.97}


def made_up(folder: Path, n: int, metrics: Any, device: str = "cpu") -> dict[str, Any]:
    """In place of ``gpgan eval``: other numbers for every run and number of samples."""
    rng = random.Random(f"{folder.parent.name} {folder.name} {n}")
    return {
        name: {
            "score": 4000 * rng.random() if name in ("kd", "fd", "fd_infinity") else rng.random(),
            "floor": FLOORS.get(name),
            "floor_deviation": 0.5,
            "n": n,
            "settings": {},
            "details": {"zero": 0.4, "zero, real": 0.5, "one": 0.6, "one, real": 0.5} if name == "class_kl" else {},
            "place": "as blur 0.7" if name == "kd" else "",
            "note": "",
        }
        for name in metrics
    }


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Slices train in this process, one after the other, with made-up quality; returns their arguments."""
    calls: list[list[str]] = []

    def call(self: run.Runner, module: str, *arguments: str) -> None:
        calls.append(list(arguments))
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        assert slice.main() == 0

    def runner(*arguments: Any) -> None:
        begin(*arguments)
        arguments[0].workers = 1

    begin = run.Runner.__init__
    monkeypatch.setattr(run.Runner, "__init__", runner)
    monkeypatch.setattr(run.Runner, "_call", call)
    monkeypatch.setattr(quality, "report", made_up)
    monkeypatch.setattr(quality, "selection", lambda trainer: made_up_selection(trainer))
    monkeypatch.setattr(quality, "classify", lambda images, data: (images.flatten(1).sum(1) * 1e3).long().abs() % 10)
    return calls


def made_up_selection(trainer: Trainer) -> dict[str, float | None]:
    return {"kd": 3000.0 / trainer.step, "precision": 0.5, "recall": 0.5, "coverage": 0.5}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_takes_at_most_45_minutes_a_core(name: str) -> None:
    table = TABLES[name]
    assert 0 < table.minutes() <= MOST_MINUTES == 45
    assert len({job.name for job in table.jobs}) == len(table.jobs) == len(table.methods) * table.seeds
    # Every method once before any has a second seed.
    assert [job.method for job in table.jobs[: len(table.methods)]] == list(table.methods)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_from_training_to_figures(name: str, tmp_path: Path, within: list[list[str]]) -> None:
    assert runs.main([name, "--smoke", "--runs", str(tmp_path)]) == 0
    folder = tmp_path / "smoke" / name
    result = json.loads((folder / "result.json").read_text())
    table = TABLES[name].scaled("smoke")
    assert len(within) == len(table.jobs) * table.slices
    for each in result["runs"]:
        assert len(each["slices"]) == table.slices
        assert each["slices"][-1]["step"] == (table.steps or each["slices"][-1]["step"]) > 0
        assert each["slices"][-1]["images"] >= each["slices"][-1]["step"]
        assert str(tmp_path) not in json.dumps(each)
        if not table.steps:
            assert sum(one["seconds"] for one in each["slices"]) >= table.seconds
    page = (folder / "docs" / "result.md").read_text()
    for method in table.methods if name != "architectures" else ():
        assert method in page
    assert "load at most" in page
    for picture in [part.split(")")[0] for part in page.split("](images/")[1:]]:
        with Image.open(folder / "docs" / "images" / picture) as image:
            assert image.width > 100
    done = len(within)
    assert runs.main([name, "--smoke", "--runs", str(tmp_path)]) == 0
    assert len(within) == done  # nothing was repeated


def test_a_run_takes_its_turn_and_a_killed_slice_is_trained_again(tmp_path: Path, within: list[list[str]]) -> None:
    table = TABLES["penalty"].scaled("smoke")
    runner = run.Runner(table, "smoke", "cpu", tmp_path)
    call = run.Runner._call
    killed: list[str] = []

    def dies(self: run.Runner, module: str, *arguments: str) -> None:
        call(self, module, *arguments)
        if arguments[1:3] == ("reference-0", "1"):  # after training, before its record is there
            (tmp_path / "reference-0" / "1.json").unlink()
            killed.append(arguments[1])
            raise RuntimeError("killed")

    run.Runner._call = dies  # type: ignore[method-assign]
    try:
        with pytest.raises(RuntimeError, match="killed"):
            runner.run()
    finally:
        run.Runner._call = call  # type: ignore[method-assign]
    assert killed
    assert [(each[1], each[2]) for each in within[:5]] == [
        ("stock-0", "0"), ("reference-0", "0"), ("native-0", "0"), ("stock-0", "1"), ("reference-0", "1")
    ]  # fmt: skip
    run.Runner(table, "smoke", "cpu", tmp_path).run()
    losses = [line["critic_loss"] for each in slice.done(tmp_path / "reference-0") for line in each["history"]]
    settings = slice.settings(table, table.jobs[1], "cpu")
    config = configure(table.data, **settings, out=tmp_path, name="whole")
    Trainer(config).fit()
    whole = [json.loads(line)["critic_loss"] for line in (tmp_path / "whole" / "stats.jsonl").read_text().splitlines()]
    assert losses == whole
    assert len(losses) == table.steps


def test_an_interrupted_command_continues(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.runs", "penalty", "--smoke", "--runs", str(tmp_path)]
    # Interrupts are ignored where the tests run in the background of a shell.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    records = tmp_path / "smoke" / "penalty"
    deadline = time.monotonic() + 120
    while not list(records.glob("*/0.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    first = {path: path.read_bytes() for path in records.glob("*/*.json")}
    assert first
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command continues" in said
    assert not (records / "result.json").exists()
    subprocess.run(command, cwd=ROOT, check=True)
    assert all(path.read_bytes() == before for path, before in first.items())
    result = json.loads((records / "result.json").read_text())
    for each in result["runs"]:
        assert [line["step"] for line in each["history"]] == list(range(1, 13))
        assert all(one["step_seconds"] > 0 for one in each["slices"])
    page = (records / "docs" / "result.md").read_text()
    assert "| native |" in page


def result_of(name: str, tmp_path: Path) -> tuple[Table, dict[str, Any]]:
    assert runs.main([name, "--smoke", "--runs", str(tmp_path)]) == 0
    return TABLES[name].scaled("smoke"), json.loads((tmp_path / "smoke" / name / "result.json").read_text())


def test_a_table_from_a_loaded_machine_is_not_published(
    tmp_path: Path, within: list[list[str]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    small = TABLES["lazy"].scaled("smoke")
    monkeypatch.setitem(runs.TABLES, "lazy", small)
    monkeypatch.setattr(Table, "scaled", lambda self, scale: self)
    monkeypatch.setattr(slice.Clock, "others", lambda clock: 1.0)
    root, results = tmp_path / "root", tmp_path / "results"
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("images", "*.html"))
    shutil.copy(ROOT / "README.md", root)
    shutil.copytree(ROOT / "benchmarks" / "results", results)
    given = ["lazy", "--runs", str(tmp_path / "runs"), "--root", str(root), "--results", str(results)]
    assert runs.main(given) == 1
    said = capfd.readouterr().err
    assert "4 of 4 runs of the table lazy were trained while other processes put a load of up to 1.00 on a core" in said
    assert "expected at most 0.5" in said
    assert not (results / "runs" / "lazy").exists()

    trained = len(within)
    monkeypatch.setattr(slice.Clock, "others", lambda clock: 0.1)
    monkeypatch.setattr(slice.os, "getloadavg", lambda: (0.5, 0, 0))
    assert runs.main([*given, "--again"]) == 0
    assert len(within) == 2 * trained
    assert json.loads((results / "runs" / "lazy" / "small.json").read_text())["runs"]
    page = (root / "docs" / "runs.md").read_text()
    assert "| k = 16 |" in page
    assert "load at most 0.5" in page
    assert "Not run yet: `python -m benchmarks.runs stacked`." in page


def test_the_load_of_others_is_the_time_that_they_took() -> None:
    clock = slice.Clock(5.0, 60.0, 1e9, "cpu")
    assert clock.others() == 0  # no step yet
    clock.begun, clock.wall_begun = 10.0, 100.0
    clock.marks, clock.wall_now = [12.0, 14.0], 106.0
    assert clock.others() == pytest.approx(0.5)  # 6 seconds for 4 of its own
    clock.wall_now = 103.9
    assert clock.others() == 0


def test_the_selected_state_is_the_best_of_the_slices(
    tmp_path: Path, within: list[list[str]], monkeypatch: Any
) -> None:
    monkeypatch.setattr(quality, "selection", lambda trainer: {"kd": float(trainer.step)})
    _, result = result_of("lazy", tmp_path)
    for each in result["runs"]:
        assert each["states"] == {"last": 1, "selected": 0}
        assert each["quality"]["last"] != each["quality"]["selected"]
    # Only the states that are reported on are kept.
    folders = [path.name for path in (tmp_path / "smoke" / "lazy" / "k-16-0").iterdir() if path.is_dir()]
    assert sorted(folders) == ["0", "1"]


def test_a_run_that_diverges_has_its_row(tmp_path: Path, within: list[list[str]], monkeypatch: Any) -> None:
    def fit(self: Trainer) -> Any:
        result = trained(self)
        if self.config.preset == "wgan":
            raise slice.DivergedError("critic_loss is nan at step 3")
        return result

    trained = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", fit)
    _, result = result_of("presets", tmp_path)
    page = (tmp_path / "smoke" / "presets" / "docs" / "result.md").read_text()
    assert "| `wgan` | both | diverged |" in page
    assert "- wgan, seed 0: critic_loss is nan at step 3" in page
    assert [bool(each["diverged"]) for each in result["runs"]] == [False, False, True, False]


def test_cells_say_score_spread_floor_and_place() -> None:
    measured = [
        {"score": score, "floor": 11.0, "place": place} for score, place in ((900.0, "a"), (1000.0, "b"), (1400.0, "c"))
    ]
    three = [{"quality": {"last": {"kd": each}}} for each in measured]
    assert text.cell(three, "kd") == "1100 ± 265 (11; b)"
    assert text.cell(three[:1], "kd") == "900 (11; a)"
    assert text.cell([{"quality": {"last": {"kd": {"score": None, "floor": None, "place": ""}}}}], "kd") == "-"
    assert text.cell(three, "recall") == "-"


def test_the_stock_penalty_gives_the_same_update(tmp_path: Path) -> None:
    config = configure("digits", preset="wgan-gp", threads=1, out=tmp_path)
    tasks = [Trainer(config).task for _ in range(2)]
    stock = penalty.Stock(tasks[0])
    real, fake = torch.rand(2, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    alpha = torch.linspace(0, 1, 16)
    numbers = [step(real, fake, alpha=alpha) for step in (stock, tasks[1].critic_step)]
    torch.testing.assert_close(numbers[0].penalty, numbers[1].penalty, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(numbers[0].loss, numbers[1].loss, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(tasks[0].critic.parameters(), tasks[1].critic.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-4)


def test_rows_of_presets_say_their_settings() -> None:
    def row(name: str) -> list[str]:
        from gpgan.settings.merging import settings_of

        return presets.settings(json.loads(json.dumps(settings_of(configure("digits", preset=name)), default=str)))

    assert row("wgan") == ["wasserstein", "weights within ±0.01", "rmsprop 5e-05 (0.99), batch 64, n_critic 5"]
    assert row("gan") == ["minimax", "none", "sgd 0.005 (0.5), batch 100, n_critic 1"]
    assert row("sngan")[:2] == ["hinge", "spectral normalisation"]
    assert row("wgan-lp")[1] == r"10 (\|g\| - 1)² between real and fake, one-sided"
    assert row("stylegan-r1")[1] == r"5 \|g\|² at real samples (R1), every 16 steps"


def test_stacks_and_their_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    data, again = stacked.digits(), stacked.digits()
    assert data.stored.shape == data.held_out.shape == (400, 3, 8, 8)
    assert data.fingerprint() == again.fingerprint()
    assert not torch.equal(data.stored, data.held_out)
    singles = load("digits")
    every = {bytes(image.numpy().tobytes()) for image in singles.stored}
    assert all(image.numpy().tobytes() in every for image in data.stored[:20].flatten(0, 1))

    # A classifier by the first pixel.
    monkeypatch.setattr(quality, "classify", lambda images, data: images[:, 0, 0, 0].long())
    stacks = torch.zeros(4, 3, 8, 8)
    stacks[1, 0], stacks[2, 1], stacks[3, 2] = 1, 2, 9
    found = stacked.modes(stacks, "digits")
    assert found == {"modes": 4, "kl": pytest.approx(math.log(1000 / 4))}
    assert stacked.modes(torch.zeros(7, 3, 8, 8), "digits") == {"modes": 1, "kl": pytest.approx(math.log(1000))}


def test_accuracy_by_class(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([0, 0, 1, 1, 2])
    monkeypatch.setattr(quality, "classify", lambda images, data: torch.tensor([0, 1, 1, 1, 0]))
    assert conditional.shares(torch.zeros(5, 1, 8, 8), labels, "digits") == [0.5, 1.0, 0.0]


def test_random_architectures() -> None:
    assert architectures.draw() == architectures.ARCHITECTURES
    assert len(set(architectures.ARCHITECTURES)) == architectures.COUNT == 40
    for value in ("depth", "width", "norm", "nonlinearity"):
        assert len({getattr(each.judge, value) for each in architectures.ARCHITECTURES}) > 1
    for number, each in enumerate(architectures.ARCHITECTURES):
        assert getattr(architectures.ALL, f"a{number}") is each
        images = each.generator(latent=16, shape=(1, 28, 28))(torch.randn(4, 16))
        assert images.shape == (4, 1, 28, 28)
        critic = each.critic(shape=(1, 28, 28))
        assert critic(images).shape == (4, 1)
        linear = [module for module in critic.modules() if isinstance(module, torch.nn.Linear)]
        assert len(linear) == each.judge.depth + 1
        # A sample's score does not depend on the others.
        torch.testing.assert_close(critic(images)[:2], critic(images[:2]))


def test_successes_are_counted() -> None:
    def one(method: str, kd: float | None, coverage: float, diverged: str = "") -> dict[str, Any]:
        scores = {"kd": {"score": kd}, "coverage": {"score": coverage}}
        return {"method": method, "diverged": diverged, "quality": {"last": scores}}

    outcomes = [
        ((100.0, 0.5), (100.0, 0.5)),
        ((100.0, 0.5), (900.0, 0.5)),
        ((100.0, 0.1), (100.0, 0.5)),
        ((None, 0.5), (900.0, 0.1)),
    ]
    result = {
        "runs": [
            one(f"{name} {number}", *scores)
            for number, pair in enumerate(outcomes)
            for name, scores in zip(("nsgan", "wgan-gp"), pair, strict=True)
        ]
    }
    assert architectures.counts(result, (500.0, 0.3)) == [1, 1, 1, 1]
    result["runs"][1]["diverged"] = "nan"
    assert architectures.counts(result, (500.0, 0.3)) == [2, 1, 0, 1]
    assert sorted(architectures.THRESHOLDS, reverse=True) == list(architectures.THRESHOLDS)
