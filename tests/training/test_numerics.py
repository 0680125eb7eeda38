"""The numbers of a training: averages, rates, clipping, precision, penalty."""

import math

import numpy as np
import pytest
import torch
from small_runs import POINTS, Do, numbers_of, points, small, stats_of, without_pictures
from torch import nn

from gpgan.critic.step import CriticStep
from gpgan.records import checkpoint
from gpgan.training.trainer import Trainer


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_pictures(monkeypatch)


def test_the_average_is_that_of_the_weights(tmp_path):
    history = []

    def watch(trainer):
        history.append([value.clone().double() for value in trainer.generator.state_dict().values()])

    trainer = Trainer(points(tmp_path, **{"network.ema": 0.8}), dataset=POINTS, callbacks=[Do(watch)])
    average = [value.clone().double() for value in trainer.generator.state_dict().values()]
    trainer.fit()
    for step, weights in enumerate(history, 1):
        decay = min(0.8, (1 + step) / (10 + step))
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    for value, wanted in zip(trainer.sampler.state_dict().values(), average, strict=True):
        torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
    assert trainer.sampler is not trainer.generator


def test_without_an_average(tmp_path):
    trainer = Trainer(points(tmp_path, **{"network.ema": 0.0}), dataset=POINTS)
    assert trainer.sampler is trainer.generator
    trainer.fit()
    assert checkpoint.newest(trainer.run)[0]["average"] == {}
    assert Trainer.resume(trainer.run, steps=21, dataset=POINTS).fit().step == 21


def test_the_average_also_has_the_buffers(tmp_path):
    trainer = Trainer(small(tmp_path, **{"network.kind": "conv"}))
    trainer.fit()
    counts = {n: v for n, v in trainer.sampler.state_dict().items() if n.endswith("num_batches_tracked")}
    assert all(torch.equal(value, trainer.generator.state_dict()[name]) for name, value in counts.items())
    means = [n for n in trainer.sampler.state_dict() if n.endswith("running_mean")]
    assert means
    assert all(trainer.sampler.state_dict()[name].abs().sum() > 0 for name in means)


SCHEDULES = {
    "constant": lambda done: 1.0,
    "inverse-sqrt": lambda done: (5000 / (5000 + done)) ** 0.5,
    "linear": lambda done: 1 - done / 20,
    "cosine": lambda done: (1 + math.cos(math.pi * done / 20)) / 2,
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("lazy", [1, 4])
def test_learning_rates(tmp_path, name, lazy):
    """At step k, k - 1 steps are done. A lazy penalty changes neither rates nor betas."""
    rates = []

    def watch(trainer):
        pair = trainer.task.generator_optimizer, trainer.task.critic_optimizer
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in pair])
        assert pair[0].param_groups[0]["betas"] == (0.5, 0.9)
        assert pair[1].param_groups[0]["betas"] == (0.5, 0.9)

    settings = {"optimizer.lr": 0.01, "optimizer.schedule": name, "optimizer.beta1": 0.5, "penalty.lazy": lazy}
    Trainer(points(tmp_path, **settings), dataset=POINTS, callbacks=[Do(watch)]).fit()
    wanted = [[0.01 * SCHEDULES[name](done)] * 2 for done in range(20)]
    np.testing.assert_allclose(rates, wanted, rtol=1e-12)


def calm(trainer):
    """Starts float16's scalers so low that no update is skipped."""
    for scaler in (trainer.task.critic_scaler, trainer.task.generator_scaler):
        if scaler is not None:
            scaler.load_state_dict({**scaler.state_dict(), "scale": 1024.0})
    return trainer


def norm(module):
    return float(torch.stack([p.grad.norm() for p in module.parameters()]).norm())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_clipping(tmp_path, precision):
    norms = {0.0: [], 1e-3: []}
    for clip, seen in norms.items():
        watch = Do(lambda trainer, seen=seen: seen.append((norm(trainer.generator), norm(trainer.critic))))
        settings = {"optimizer.clip": clip, "precision": precision}
        calm(Trainer(points(tmp_path, **settings), dataset=POINTS, callbacks=[watch])).fit()
    assert np.max(norms[1e-3]) <= 1e-3 * 1.001
    assert np.min(norms[1e-3]) > 0.9e-3
    assert np.min(norms[0.0]) > 2e-3


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_half_precision_trains_as_float32_does(tmp_path, kind):
    """50 steps of digits; a few per cent of the estimate's size."""
    settings = {"network.kind": kind, "network.width": 8, "network.latent": 8, "batch": 32, "steps": 50, "tick": 10}
    ends = {}
    for precision in ("fp32", "bf16", "fp16"):
        trainer = calm(Trainer(small(tmp_path, seed=1, precision=precision, **settings)))
        run = trainer.fit().run
        ends[precision] = np.array(
            [[line[n] for n in ("estimate", "critic_loss", "norm_mean")] for line in stats_of(run)]
        )
        assert {value.dtype for value in trainer.generator.parameters()} == {torch.float32}
        assert {value.dtype for value in trainer.critic.parameters()} == {torch.float32}
    size = np.abs(ends["fp32"]).max(axis=0)
    for precision in ("bf16", "fp16"):
        difference = np.abs(ends[precision] - ends["fp32"]).max(axis=0) / size
        assert 0 < difference.max() < 0.05, (precision, difference)


class Spy(nn.Module):
    """A critic that records the autocast dtype it runs under."""

    def __init__(self):
        super().__init__()
        self.net, self.seen = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), []

    def forward(self, samples):
        scores = self.net(samples)
        enabled = torch.is_autocast_enabled("cpu")
        self.seen.append((samples.dtype, scores.dtype, torch.get_autocast_dtype("cpu") if enabled else None))
        return scores


def test_the_penalty_of_float16_is_computed_in_float32(tmp_path, monkeypatch):
    """The critic's forward for scores is in float16; that for the penalty and its norms are not."""
    spy, norms = Spy(), []
    step = CriticStep.__call__

    def stepping(self, *arguments, **options):
        spy.seen.clear()
        stats = step(self, *arguments, **options)
        norms.append((stats.norms.dtype, stats.penalty.dtype, sorted(map(str, spy.seen))))
        return stats

    monkeypatch.setattr(CriticStep, "__call__", stepping)
    trainer = Trainer(points(tmp_path, steps=3, precision="fp16"), dataset=POINTS, critic=spy)
    trainer.fit()
    half = str((torch.float32, torch.float16, torch.float16))
    full = str((torch.float32, torch.float32, None))
    assert norms == [(torch.float32, torch.float32, sorted([half, half, full]))] * 6


def test_the_scalers_of_float16_are_saved(tmp_path):
    whole = Trainer(points(tmp_path, name="whole", precision="fp16"), dataset=POINTS).fit().run
    stop = Do(lambda trainer: trainer.step == 10 and trainer.stop())
    run = Trainer(points(tmp_path, name="stopped", precision="fp16"), dataset=POINTS, callbacks=[stop]).fit().run
    state = checkpoint.newest(run)[0]
    # Steps since the last overflow: the first ones lower the scale.
    assert 0 < state["generator_scaler"]["_growth_tracker"] <= 10
    assert 0 < state["critic_scaler"]["_growth_tracker"] <= 20
    fresh = Trainer(points(tmp_path, precision="fp16"), dataset=POINTS).task.critic_scaler
    assert state["critic_scaler"]["scale"] != fresh.get_scale()
    trainer = Trainer.resume(run, dataset=POINTS)
    assert trainer.task.critic_scaler.state_dict() == state["critic_scaler"]
    trainer.fit()
    assert numbers_of(run) == numbers_of(whole)
    plain = Trainer(points(tmp_path, name="plain"), dataset=POINTS).fit().run
    assert checkpoint.newest(plain)[0]["critic_scaler"] == {}


def test_an_overflow_of_float16_is_no_divergence(tmp_path):
    """The scale is too large for the losses: updates are skipped until it is lower, and training continues."""
    scales = []
    trainer = Trainer(points(tmp_path, precision="fp16"), dataset=POINTS)
    for scaler in (trainer.task.critic_scaler, trainer.task.generator_scaler):
        scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**120})
    trainer.callbacks.append(Do(lambda t: scales.append(t.task.critic_scaler.get_scale())))
    assert trainer.fit().step == 20
    assert scales[-1] < scales[0] < 2.0**120
    assert all(math.isfinite(line["critic_loss"]) for line in stats_of(trainer.run))


@pytest.mark.parametrize("before", [False, True])
def test_deterministic(tmp_path, before):
    torch.use_deterministic_algorithms(before)
    seen = []

    def watch(trainer):
        seen.append(torch.are_deterministic_algorithms_enabled())
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))

    trainer = Trainer(points(tmp_path, deterministic=True), dataset=POINTS, callbacks=[Do(watch)])
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        trainer.fit()
    assert seen == [True]
    assert torch.are_deterministic_algorithms_enabled() == before
    assert Trainer(points(tmp_path, deterministic=True), dataset=POINTS).fit().step == 20


def test_the_penalty_takes_effect(tmp_path):
    ends = []
    settings = {"steps": 60, "tick": 20, "batch": 32, "network.width": 16}
    for weight, target in ((1e-6, 1.0), (10.0, 1.0), (10.0, 3.0)):
        penalty = {"penalty.weight": weight, "penalty.target": target}
        ends.append(stats_of(Trainer(small(tmp_path, **settings, **penalty)).fit().run)[-1]["norm_mean"])
    assert abs(ends[1] - 1) < 0.3
    assert abs(ends[2] - 3) < 0.6
    assert abs(ends[0] - 1) > 0.5


def test_without_a_penalty_there_are_no_norms(tmp_path):
    lines = stats_of(Trainer(small(tmp_path, objective="hinge", **{"penalty.weight": 0.0})).fit().run)
    assert {line[name] for line in lines for name in ("penalty", "norm_mean", "norm_std", "norm_max")} == {None}


def test_one_sided_penalty(tmp_path, monkeypatch):
    seen = []
    step = CriticStep.__call__

    def stepping(self, *arguments, **options):
        stats = step(self, *arguments, **options)
        seen.append((stats.norms, stats.penalty))
        return stats

    monkeypatch.setattr(CriticStep, "__call__", stepping)
    Trainer(small(tmp_path, **{"penalty.one_sided": True, "penalty.weight": 5.0})).fit()
    for norms, penalty in seen:
        torch.testing.assert_close(penalty, 5 * (norms - 1).clamp(min=0).square().mean())
    assert any((norms < 1).any() for norms, _ in seen)
