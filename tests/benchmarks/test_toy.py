"""The toy table: its protocol against numbers worked by hand, its records on disk, its settings, and its page."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.toy import __main__ as command
from benchmarks.toy import protocol, run, settings, table
from benchmarks.toy.run import Job
from gpgan.tasks.configure import configure

ROOT = Path(__file__).parents[2]


def asked_for(preset, name):
    return getattr(configure("ring", preset=preset).optimizer, name)


def record(preset, data, seed, captured, high_quality, reverse_kl, diverged=None):
    return {
        "preset": preset,
        "data": data,
        "seed": seed,
        "captured": captured,
        "high_quality": high_quality,
        "reverse_kl": reverse_kl,
        "diverged": diverged,
        "seconds": 10.0,
    }


class Corners(nn.Module):
    """Goes to one of two modes of the grid, by the sign of the first latent; a known share lands between modes."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, latents):
        points = torch.where(latents[:, :1] > 0, 4.0, -4.0).expand(-1, 2).clone()
        points[latents[:, 1] > 1] = 1.0  # halfway between modes
        return points / self.scale


@pytest.mark.parametrize("data", protocol.DATA)
def test_scaled_data_has_unit_deviation_and_keeps_its_modes(data):
    dataset = protocol.load_scaled(data)
    assert float(dataset.samples().square().mean().sqrt()) == pytest.approx(1, rel=1e-2)
    back = dataset.samples() * dataset.scale + dataset.offset
    assert torch.allclose(back, dataset.stored, atol=1e-6)


def test_a_generator_is_scored_in_the_mixtures_units():
    dataset = protocol.load_scaled("grid")
    assert dataset.scale == pytest.approx(2.83, abs=0.02)
    score = protocol.score(Corners(dataset.scale), 2, dataset, 0)
    assert score["captured"] == 2
    # P(z <= 1) = 0.8413, of 2500 samples
    assert score["high_quality"] == pytest.approx(0.8413, abs=4 * math.sqrt(0.8413 * 0.1587 / 2500))
    assert score["reverse_kl"] == pytest.approx(math.log(25) - math.log(2), abs=5e-3)


@pytest.mark.parametrize(("data", "high_quality", "reverse_kl"), [("ring", 98.9, 0.001), ("grid", 98.9, 0.005)])
def test_real_samples_score_as_theory_says(data, high_quality, reverse_kl):
    # 1 - exp(-9/2) = 98.89 % of a plane Gaussian lie within 3 deviations; the plug-in KL's bias is (K - 1) / 2n.
    row = table.summarise([], {data: protocol.score_real(protocol.load_scaled(data))})[0]
    assert row["high_quality"]["mean"] == pytest.approx(high_quality, abs=0.3)
    assert row["reverse_kl"]["mean"] == pytest.approx(reverse_kl, rel=0.6)
    assert table.reached(row)


def test_every_preset_has_its_seeds_and_comes_once_before_any_comes_twice():
    jobs = run.jobs()
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names) == 2 * (10 + 10 + 8 * 3)
    assert {job.preset for job in jobs[:20]} == set(settings.SEEDS)
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)


@pytest.mark.parametrize("preset", settings.SEEDS)
def test_runs_differ_in_what_the_preset_says_and_in_nothing_else(preset):
    config = run.configuration(Job("ring", preset, 2, 0))
    shared = run.configuration(Job("ring", "nsgan", 2, 0))
    assert config.seed == 2
    assert config.preset == preset
    free = {"preset", "objective", "penalty", "optimizer", "weight_clip", "network", "n_critic"}
    assert {k: v for k, v in vars(config).items() if k not in free} == {
        k: v for k, v in vars(shared).items() if k not in free
    }
    assert replace(config.network, spectral_norm=False) == replace(shared.network, spectral_norm=False)
    assert (config.n_critic, config.batch) == (1, 256)
    own = config.optimizer
    assert (own.lr, own.beta2, own.schedule) == (1e-3 if preset == "wgan" else 2e-3, 0.99, "linear")
    assert (own.beta1, own.kind) == (
        asked_for(preset, "beta1"),
        "adam" if preset == "gan" else asked_for(preset, "kind"),
    )


@pytest.mark.parametrize("preset", settings.SEEDS)
def test_a_run_gives_its_score_and_leaves_nothing_else_behind(preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run.train(Job("ring", preset, 0, 20))
    assert result["settings"]["steps"] == 20
    assert 0 <= result["captured"] <= 8
    assert result["seconds"] > 0
    assert list(tmp_path.iterdir()) == []
    json.dumps(result, allow_nan=False)


def test_a_run_depends_on_its_seed_alone():
    first, again, other = (run.train(Job("grid", "wgan-gp", seed, 20)) for seed in (0, 0, 1))
    assert first["high_quality"] == again["high_quality"]
    assert (first["high_quality"], first["reverse_kl"]) != (other["high_quality"], other["reverse_kl"])


def test_a_diverged_run_counts_as_nothing_found(monkeypatch):
    monkeypatch.setitem(settings.OWN, "nsgan", {"optimizer.lr": 1e30})
    result = run.train(Job("ring", "nsgan", 0, 10))
    assert (result["captured"], result["high_quality"], result["reverse_kl"]) == (0, 0.0, None)
    assert "not finite" in result["diverged"]


def test_samples_that_are_not_finite_count_as_diverged(monkeypatch):
    def beyond(*arguments):
        raise ValueError("samples hold NaN or infinite values")

    monkeypatch.setattr(run, "score", beyond)
    assert run.train(Job("ring", "nsgan", 0, 2))["diverged"] == "samples hold NaN or infinite values"


def test_finished_runs_are_not_run_again_unless_their_settings_changed(tmp_path, monkeypatch):
    jobs = [Job("ring", "nsgan", seed, 2) for seed in (0, 1)]
    done = {json.dumps(each, sort_keys=True) for each in run.run(jobs[:1], tmp_path, workers=1)}
    path = tmp_path / "ring-nsgan-0.json"
    written = path.stat().st_mtime_ns
    both = list(run.run(jobs, tmp_path, workers=1))
    assert json.dumps(both[0], sort_keys=True) in done
    assert [each["seed"] for each in both] == [0, 1]
    assert path.stat().st_mtime_ns == written
    assert run.recorded(Job("ring", "nsgan", 0, 3), tmp_path) is None
    monkeypatch.setitem(settings.COMMON, "network.width", 32)
    assert run.recorded(jobs[0], tmp_path) is None


def test_rows_are_means_and_standard_errors():
    runs = [
        record("nsgan", "ring", seed, *of) for seed, of in enumerate([(8, 0.9, 0.1), (6, 0.8, 0.3), (7, 0.0, None)])
    ]
    (row,) = table.summarise(runs, {})
    assert row["modes"]["mean"] == pytest.approx(7)
    assert row["modes"]["standard_error"] == pytest.approx(1 / math.sqrt(3))
    assert row["high_quality"]["mean"] == pytest.approx(100 * 1.7 / 3)
    assert row["reverse_kl"]["mean"] == pytest.approx(0.2)
    assert row["reverse_kl"]["of"] == 2
    assert row["reverse_kl"]["standard_error"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("score", "good"),
    [((25, 0.961, 0.019), True), ((24, 0.97, 0.01), False), ((25, 0.959, 0.01), False), ((25, 0.97, 0.021), False)],
)
def test_a_target_needs_all_three_numbers(score, good):
    (row,) = table.summarise([record("wgan-gp", "grid", 0, *score)], {})
    assert table.reached(row) is good


def test_the_page_shows_ours_beside_the_published_and_says_what_is_missing():
    rows = table.summarise(
        [record("wgan-gp", "ring", 0, 8, 0.975, 0.002), record("nsgan", "ring", 0, 0, 0.0, None, "loss is nan")], {}
    )
    page = table.render({"machine": {"cpu": "C"}, "date": "2000-01-01", "done": 2, "planned": 88, "rows": rows})
    cells = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("|")}
    assert "so far: 2 of 88 runs" in page
    assert "97.5" in cells["wgan-gp"]
    assert "1 diverged" in cells["nsgan"]
    assert "52.9" in page
    assert "reached by: wgan-gp." in page


def test_the_summary_has_both_mixtures_in_a_row():
    records = [
        record("wgan-gp", data, seed, modes, good, 0.002)
        for data, modes in (("ring", 8), ("grid", 25))
        for seed, good in ((0, 0.97), (1, 0.98))
    ]
    records += [record("nsgan", data, 0, 3, 0.9, 0.5) for data in ("ring", "grid")]
    records += [record("gan", data, 0, 0, 0.0, None, "a loss is nan") for data in ("ring", "grid")]
    records += [record("gan", "ring", 1, 2, 0.5, 1.0)]
    text = table.summary({"date": "2000-01-01", "rows": table.summarise(records, {})}, "toy.md")
    assert "| gan | 1.0 / 25.0 / 1.000 (1 of 2 diverged) | 0.0 / 0.0 / - (1 of 1 diverged) |" in text
    assert "was found with wgan-gp on grid" in text
    assert "| **wgan-gp** | 8.0 / 97.5 / 0.002 | 25.0 / 97.5 / 0.002 |" in text
    assert "| nsgan | 3.0 / 90.0 / 0.500 | 3.0 / 90.0 / 0.500 |" in text
    assert "| VEEGAN (published) | 8 / 52.9 / - | 24.6 / 40 / - |" in text


def test_the_command_writes_a_partial_table_and_goes_on(tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    arguments = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path), "--presets", "lsgan", "--steps", "2"]
    assert command.main([*arguments, "--readme", str(readme)]) == 0
    written = readme.read_text()
    assert written.startswith(f"before\n{table.BEGIN}\n\nModes")
    assert "| lsgan |" in written
    assert written.endswith(f"\n{table.END}\nafter\n")
    assert "## grid" in capsys.readouterr().out
    (path,) = tmp_path.glob("toy-*.json")
    result = json.loads(path.read_text())
    assert result["done"] == result["planned"] == len(result["runs"]) == 6
    begun = time.monotonic()
    assert command.main(arguments) == 0
    assert "6 of 6" in capsys.readouterr().err
    assert time.monotonic() - begun < 30


def test_an_interrupted_table_says_so_and_keeps_what_is_done(tmp_path):
    arguments = ["--runs", "runs", "--output", ".", "--presets", "nsgan", "--steps", "300"]
    runs = tmp_path / "runs"
    runs.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.toy", *arguments],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # The parent of the tests may ignore SIGINT, as a shell makes its background jobs do, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        end = time.monotonic() + 240
        while not list(runs.glob("*.json")) and time.monotonic() < end:
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "the same command continues" in errors
    assert not list(runs.glob("*.part"))
    finished = [json.loads(path.read_text()) for path in runs.glob("*.json")]
    assert 1 <= len(finished) < 20
    assert all(each["settings"]["steps"] == 300 for each in finished)
