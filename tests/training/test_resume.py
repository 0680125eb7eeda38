"""Runs that are stopped and resumed are bit for bit the same as without the stop."""

import functools
import random
import signal

import numpy as np
import pytest
import torch
from same_runs import Do, assert_same, difference, draw_bits, files_of, numbers_of, small, state_of
from torch import nn

from gpgan import data
from gpgan.cli import main
from gpgan.data.order import Order
from gpgan.settings.presets import PRESETS, presets_of
from gpgan.training.trainer import Trainer
from gpgan.util import random_states


class Noisy(nn.Module):
    """A generator that draws from every global random state, also when it makes pictures."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, latents):
        return self.layers(latents) * (1 + 0.2 * random.random()) + 0.1 * float(np.random.normal()) * torch.rand(())


class NoisyCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.LeakyReLU(), nn.Linear(8, 1))

    def forward(self, samples):
        return self.layers(samples).squeeze(1)


def noisy():
    torch.manual_seed(3)
    return {"generator": Noisy(), "critic": NoisyCritic()}


def interrupt(number, trainer):
    signal.raise_signal(number)


WAYS = {
    "callback": Trainer.stop,
    "SIGINT": functools.partial(interrupt, signal.SIGINT),
    "SIGTERM": functools.partial(interrupt, signal.SIGTERM),
}
SHORT = {"steps": 20}
CASES = {
    "points": ("ring", {}),
    "images, mlp": ("digits", {"network.kind": "mlp"}),
    "images, conv": ("digits", {"network.kind": "conv", "network.width": 4}),
    "labels": ("digits", {"conditional": True}),
    "labels, conv": ("digits", {"conditional": True, "network.kind": "conv", "network.width": 4}),
    "volumes": ("volumes", {"network.width": 4}),
    "lazy penalty": ("ring", {"penalty.lazy": 3}),
    "bf16": ("ring", {"precision": "bf16"}),
    "fp16": ("ring", {"precision": "fp16"}),
    "fp16, conv, clip": ("digits", {"precision": "fp16", "network.kind": "conv", "optimizer.clip": 1.0}),
    "no average": ("digits", {"network.ema": 0.0}),
    "linear": ("ring", {"optimizer.schedule": "linear"}),
    "cosine": ("ring", {"optimizer.schedule": "cosine"}),
    "clip": ("ring", {"optimizer.clip": 0.05}),
    "sgd": ("ring", {"optimizer.kind": "sgd", "optimizer.beta1": 0.5, "penalty.lazy": 3}),
    "rmsprop, clipped weights": ("ring", {"optimizer.kind": "rmsprop", "weight_clip": 0.1, "penalty.weight": 0.0}),
    "spectral norm, lazy": ("ring", {"network.spectral_norm": True, "penalty.lazy": 5, "objective": "hinge"}),
    "spectral norm, labels": ("digits", {"network.spectral_norm": True, "conditional": True}),
    "batch norm in the critic": (
        "digits",
        {
            "network.kind": "conv",
            "network.width": 4,
            "network.norm": "batch",
            "objective": "hinge",
            "penalty.weight": 0.0,
        },
    ),
    "noisy, lazy": ("ring", {"penalty.points": "noisy", "penalty.lazy": 5}),
    "both, pack": ("digits", {"penalty.points": "both", "pack": 4, "objective": "relativistic"}),
    "super-resolution": ("digits", {"task": "superresolve"}),
    "super-resolution by L1 alone": ("digits", {"task": "superresolve", "task.critic": 0.0}),
    "super-resolution, no average, lazy": ("digits", {"task": "superresolve", "network.ema": 0.0, "penalty.lazy": 3}),
    "resnet": ("digits", {"network.kind": "resnet", "network.width": 4, "network.norm": "layer"}),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    draw_bits(monkeypatch)


@pytest.fixture
def drawn(monkeypatch):
    """The indices of all samples trained on, in order."""
    numbers = []
    real = Order.indices

    def indices(self, start, count):
        taken = real(self, start, count)
        numbers.extend(taken.tolist())
        return taken

    monkeypatch.setattr(Order, "indices", indices)
    return numbers


@pytest.fixture
def volumes(tmp_path):
    path = tmp_path / "volumes.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8, 8), dtype=np.uint8))
    return str(path)


def at(step, do):
    """A callback that does something at one step."""
    return Do(lambda trainer: do(trainer) if trainer.step == step else None)


def trainer_of(out, source, modules=None, **settings):
    return Trainer(small(out, source, **settings), **(modules or {}))


def unbroken(tmp_path, source, modules=None, **settings):
    return trainer_of(tmp_path / "unbroken", source, modules, **settings).fit().run


def broken(tmp_path, source, stops, way="callback", modules=None, **settings):
    """The same run, stopped after each of the steps ``stops``."""
    trainer = trainer_of(tmp_path / "broken", source, modules and modules(), **settings)
    for step in stops:
        trainer.callbacks = [at(step, WAYS[way])]
        result = trainer.fit()
        assert (result.step, result.reason) == (step, "stopped" if way == "callback" else "signal")
        assert result.signal == (0 if way == "callback" else getattr(signal, way))
        trainer = Trainer.resume(result.run, **(modules() if modules else {}))
    result = trainer.fit()
    assert (result.step, result.reason) == (trainer.config.steps, "done")
    return result.run


@pytest.mark.parametrize("source", ["ring", "digits"])
@pytest.mark.parametrize("preset", presets_of("generation"))
def test_100_steps_are_60_and_40(tmp_path, drawn, preset, source):
    n_critic, lazy = PRESETS[preset].get("n_critic", 3), PRESETS[preset].get("penalty.lazy", 1)
    settings = {"preset": preset, "steps": 100, "n_critic": n_critic, "tick": max(5, lazy)}
    one = unbroken(tmp_path, source, **settings)
    order = drawn[:]
    drawn.clear()
    assert_same(one, broken(tmp_path, source, [60], **settings))
    assert len(order) == 100 * settings["n_critic"] * 8
    assert drawn == order


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run_stopped_between_two_ticks(tmp_path, volumes, drawn, case):
    source, settings = CASES[case]
    source = volumes if source == "volumes" else source
    one = unbroken(tmp_path, source, **SHORT, **settings)
    order = drawn[:]
    drawn.clear()
    assert_same(one, broken(tmp_path, source, [12], **SHORT, **settings))
    assert drawn == order


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_stop(tmp_path, way):
    one = unbroken(tmp_path, "ring", **SHORT)
    assert_same(one, broken(tmp_path, "ring", [10], way, **SHORT))


def test_stopped_often(tmp_path):
    one = unbroken(tmp_path, "ring", **SHORT)
    assert_same(one, broken(tmp_path, "ring", [1, 2, 6, 9, 19], **SHORT))


def test_networks_that_draw_from_every_random_state(tmp_path):
    one = unbroken(tmp_path, "ring", noisy(), **SHORT)
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    assert_same(one, broken(tmp_path, "ring", [10], modules=noisy, **SHORT))


def test_the_caller_s_random_states_are_given_back(tmp_path):
    trainer = trainer_of(tmp_path, "ring", noisy(), steps=3)
    states = random_states.capture()
    trainer.fit()
    assert difference(states, random_states.capture()) == ""


def test_more_steps_than_at_first(tmp_path):
    """With a constant learning rate nothing depends on the total number of steps."""
    one = unbroken(tmp_path, "ring", **SHORT)
    first = trainer_of(tmp_path / "first", "ring", **{**SHORT, "steps": 12}).fit()
    result = Trainer.resume(first.run, steps=20).fit()
    assert result.step == 20
    assert_same(one, result.run)


def test_more_steps_stretch_a_schedule(tmp_path):
    settings = {**SHORT, "optimizer.schedule": "linear"}
    one = unbroken(tmp_path, "ring", **settings)
    first = trainer_of(tmp_path / "first", "ring", **{**settings, "steps": 12}).fit()
    other = Trainer.resume(first.run, steps=20).fit().run
    assert difference(state_of(one)["generator"], state_of(other)["generator"]) != ""
    rates = [state_of(run)["generator_optimizer"]["param_groups"][0]["lr"] for run in (one, other)]
    assert rates[0] == rates[1] == pytest.approx(1e-3 / 20)


def test_what_came_after_the_checkpoint_is_taken_back(tmp_path):
    """A run that crashed at step 17 has lines and pictures from after its checkpoint of step 10."""
    settings = {**SHORT, "checkpoint": 10, "snapshot": 5}
    one = unbroken(tmp_path, "ring", **settings)

    def fail(trainer):
        raise RuntimeError("broken off")

    trainer = trainer_of(tmp_path / "broken", "ring", **settings)
    trainer.callbacks = [at(17, fail)]
    with pytest.raises(RuntimeError, match="broken off"):
        trainer.fit()
    assert [line["step"] for line in numbers_of(trainer.run)] == [5, 10, 15]
    with (trainer.run / "stats.jsonl").open("a") as file:
        file.write('{"step": 17, "ima')  # incomplete
    resumed = Trainer.resume(trainer.run)
    assert resumed.step == 10
    assert_same(one, resumed.fit().run)


def test_best_is_the_same_checkpoint(tmp_path):
    settings = {**SHORT, "checkpoint": 5}
    runs = unbroken(tmp_path, "ring", **settings), broken(tmp_path, "ring", [7, 12], **settings)
    best = [torch.load(run / "checkpoints" / "best.pt", weights_only=True) for run in runs]
    assert best[0]["step"] == best[1]["step"]
    assert difference(best[0]["average"], best[1]["average"]) == ""


def test_a_pure_resume_reads_and_does_not_write(tmp_path):
    run = unbroken(tmp_path, "ring", steps=5)
    before = files_of(run)
    Trainer.resume(run, steps=10)
    with pytest.raises(ValueError, match=r"steps is 5 and .* is already at step 5; expected more"):
        Trainer.resume(run)
    assert files_of(run) == before


def test_changed_data_is_refused_and_the_run_untouched(tmp_path, capsys):
    path = tmp_path / "points.npy"
    points = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    np.save(path, points)
    run = unbroken(tmp_path, str(path), steps=3)
    before = files_of(run)
    points[49, 1] += 1e-3
    np.save(path, points)
    assert main(["resume", str(run), "--steps", "6"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"the data of {run} changed since it was saved" in err
    assert data.load(str(path)).fingerprint()[:12] in err
    assert files_of(run) == before


def test_data_that_is_gone(tmp_path, capsys):
    path = tmp_path / "points.npy"
    np.save(path, np.random.default_rng(0).normal(size=(50, 2)))
    run = unbroken(tmp_path, str(path), steps=3)
    path.unlink()
    assert main(["resume", str(run), "--steps", "6"]) == 2
    assert f"{path} does not exist" in capsys.readouterr().err
