"""Evaluation during training: when it happens, on which samples, and the checkpoint that it chooses."""

import json

import numpy as np
import pytest
import torch
from same_runs import assert_same
from small_runs import POINTS, Do, points, small, stats_of, without_pictures

import gpgan
from gpgan import Trainer
from gpgan.data import Dataset, load, split
from gpgan.metrics.features.registry import open_network
from gpgan.metrics.scores.kd import TIMES, kernel_distance
from gpgan.records import checkpoint
from gpgan.tasks.generation.selection import Selection


@pytest.fixture(autouse=True)
def _quick(tmp_path, monkeypatch, request):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if "resumed" not in request.node.name:  # which compares pictures
        without_pictures(monkeypatch)


def evaluated(tmp_path, **settings):
    return small(tmp_path, **{"eval": 6, "tick": 2, "checkpoint": 20, **settings})


def steps_with(run, name):
    return [line["step"] for line in stats_of(run) if line.get(name) is not None]


def test_every_so_many_steps(tmp_path):
    run = Trainer(evaluated(tmp_path)).fit().run
    assert steps_with(run, "kd") == [6, 12, 18]
    names = {"kd", "kd_floor", "precision", "recall", "coverage", "class_kl"}
    assert all(names <= {name for name, value in line.items() if value is not None} for line in stats_of(run)[2::3])


def test_between_ticks_it_waits_for_the_next_one(tmp_path):
    assert steps_with(Trainer(evaluated(tmp_path, tick=5)).fit().run, "kd") == [10, 15, 20]


def test_the_number_is_that_of_samples_against_those_set_aside(tmp_path):
    """Computed by hand from the averaged generator at the last evaluation."""
    trainer = Trainer(evaluated(tmp_path, steps=6))
    run = trainer.fit().run
    whole = load("digits")
    parts = split(whole, 149)
    assert torch.equal(trainer.dataset.selection, parts.selection)
    assert torch.equal(trainer.dataset.rows, parts.rows)
    with torch.no_grad():
        latents = torch.randn(149, 4, generator=torch.Generator().manual_seed(1))
        samples = trainer.sampler.eval()(latents)
    network = open_network("digits", shape=(1, 8, 8))
    real = network.features(whole.samples(parts.selection))
    distance = kernel_distance(network.features(samples), real)
    assert stats_of(run)[-1]["kd"] == pytest.approx(TIMES * distance, rel=1e-4)


def test_the_best_checkpoint_has_the_lowest_score(tmp_path, monkeypatch):
    scores = iter([5.0, 2.0, 9.0, 3.0])
    monkeypatch.setattr(Selection, "measure", lambda self, samples: {"kd": next(scores)})
    run = Trainer(evaluated(tmp_path, steps=24)).fit().run
    assert checkpoint.read(run / "checkpoints" / "best.pt")["step"] == 12


def test_a_resumed_run_is_the_same(tmp_path):
    straight = Trainer(evaluated(tmp_path / "a")).fit().run
    trainer = Trainer(evaluated(tmp_path / "b"))
    trainer.callbacks.append(Do(lambda at: at.stop() if at.step == 13 else None))
    other = trainer.fit().run
    Trainer.resume(other).fit()
    assert_same(straight, other)
    assert checkpoint.read(straight / "checkpoints" / "best.pt")["step"] in (6, 12, 18)


def test_an_evaluation_leaves_no_trace_in_the_training(tmp_path):
    runs = [Trainer(evaluated(tmp_path / name, eval=every)).fit().run for name, every in (("a", 6), ("b", 20))]
    first, second = (checkpoint.newest(run)[0] for run in runs)
    assert all(torch.equal(first["generator"][name], second["generator"][name]) for name in first["generator"])


def test_samples_that_are_reported_on_are_never_used(tmp_path, monkeypatch):
    """Neither for the critic's held-out estimate nor for the evaluation."""
    trainer = Trainer(evaluated(tmp_path))
    dataset = trainer.dataset
    selection = {tuple(row) for row in dataset.whole.samples(dataset.selection).flatten(1).tolist()}
    held_out = trainer.task._held_out[0]
    assert {tuple(row) for row in held_out.flatten(1).tolist()} <= selection


def test_points_are_evaluated_if_asked(tmp_path):
    dataset = Dataset("points", torch.randn(700, 3, generator=torch.Generator().manual_seed(0)))
    config = small(tmp_path, "points", dataset, **{"eval": 10, "tick": 5})
    line = stats_of(Trainer(config, dataset=dataset).fit().run)[1]
    assert line["w1"] > line["w1_floor"] > 0
    assert gpgan.configure("points", dataset).eval == 0


def test_images_are_evaluated_by_default(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (700, 1, 12, 12), dtype=np.uint8)
    assert gpgan.configure("a", Dataset("a", torch.from_numpy(images))).eval == 500
    assert gpgan.configure("a", Dataset("a", torch.from_numpy(images[:500]))).eval == 0
    assert gpgan.configure("digits").eval == 500


def test_too_few_samples(tmp_path):
    with pytest.raises(
        ValueError, match=r"eval is 5 and points has 200 samples, too few .* expected 600 or more, or --eval 0"
    ):
        Trainer(points(tmp_path, eval=5), dataset=POINTS)


def test_a_run_from_before_there_were_evaluations(tmp_path):
    """It has no such setting: nothing is set aside, and it continues on the samples that it was begun with."""
    config = small(tmp_path)
    run = Trainer(config).fit().run
    settings = json.loads(checkpoint.newest(run)[0]["config"])
    assert settings.pop("eval") == 0
    state = checkpoint.newest(run)[0]
    checkpoint.save(run, {**state, "config": json.dumps(settings)}, best=False, keep=False)
    again = Trainer.resume(run, steps=25)
    assert again.dataset.selection is None
    assert len(again.dataset) == 1618
