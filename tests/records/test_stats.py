"""stats.jsonl compared with the numbers of every step, and the check for numbers that are not finite."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from small_runs import Do, numbers_of, small, stats_of, without_pictures

from gpgan import objectives
from gpgan.critic.step import CriticStep
from gpgan.records import checkpoint
from gpgan.records.stats import Meter, NotFiniteError, Stats
from gpgan.training.callbacks import Callback
from gpgan.training.trainer import DivergedError, Trainer
from gpgan.util.processes import Processes

WASSERSTEIN = objectives.get("wasserstein")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_pictures(monkeypatch)


@pytest.fixture
def seen(monkeypatch):
    """The arguments and results of every critic step of a run, and the loss of every generator step."""
    seen = {"critic": [], "generator": []}
    step, add = CriticStep.__call__, Meter.add

    def stepping(self, real, fake, **options):
        stats = step(self, real, fake, **options)
        seen["critic"].append(stats)
        return stats

    def adding(self, number, numbers):
        seen["generator"].append(float(numbers["generator_loss"]))
        add(self, number, numbers)

    monkeypatch.setattr(CriticStep, "__call__", stepping)
    monkeypatch.setattr(Meter, "add", adding)
    return seen


def by_hand(critic, generator, weight):
    """The numbers of a line, from scores and gradient norms, in float64."""
    real, fake = (torch.stack([getattr(s, name) for s in critic]).double() for name in ("real_scores", "fake_scores"))
    norms = torch.stack([s.norms for s in critic if s.norms is not None]).double()
    wasserstein = float(real.mean() - fake.mean())
    penalty = float(weight * (norms - 1).square().mean())
    with_penalty = len(norms) / len(critic)
    return {
        "critic_loss": penalty * with_penalty - wasserstein,
        "generator_loss": sum(generator) / len(generator),
        "estimate": wasserstein,
        "penalty": penalty,
        "norm_mean": float(norms.mean()),
        "norm_std": float(norms.std(correction=0)),
        "norm_max": float(norms.max()),
    }


def check_lines(run, config, seen, ends, weight):
    lines = stats_of(run)
    assert [line["step"] for line in lines] == ends
    every = config.n_critic
    for begin, line in zip([0, *ends], lines, strict=False):
        end = line["step"]
        wanted = by_hand(seen["critic"][begin * every : end * every], seen["generator"][begin:end], weight)
        assert {name: line[name] for name in wanted} == pytest.approx(wanted, rel=2e-5, abs=2e-5)
        assert line["images"] == end * every * config.batch
    assert len({line["norm_mean"] for line in lines}) == len(lines)


def test_a_line_is_the_mean_over_its_own_steps(tmp_path, seen):
    config = small(tmp_path, steps=17, **{"penalty.weight": 3.0})
    check_lines(Trainer(config).fit().run, config, seen, [5, 10, 15, 17], 3.0)


def test_a_lazy_penalty(tmp_path, seen):
    """The weight is multiplied by the interval at steps with a penalty; the mean is over those steps."""
    config = small(tmp_path, steps=16, tick=4, **{"penalty.lazy": 3})
    trainer = Trainer(config)
    check_lines(trainer.fit().run, config, seen, [4, 8, 12, 16], 30.0)
    assert [s.penalty is not None for s in seen["critic"][:7]] == [True, False, False, True, False, False, True]


@pytest.mark.parametrize(("tick", "lazy"), [(8, 7), (2, 5)])
def test_lines_without_a_penalty_leave_it_open(tmp_path, tick, lazy):
    """Penalties at the steps 1, 1 + lazy, ..., and checkpoints between them."""
    config = small(tmp_path, steps=9, tick=tick, n_critic=1, checkpoint=2, **{"penalty.lazy": lazy})
    for line in stats_of(Trainer(config).fit().run):
        begun = (line["step"] - 1) // tick * tick
        penalised = any(step % lazy == 0 for step in range(begun, line["step"]))
        for name in ("penalty", "norm_mean", "norm_std", "norm_max"):
            assert math.isfinite(line[name]) if penalised else line[name] is None
        assert math.isfinite(line["critic_loss"])


def test_times_and_memory(tmp_path):
    lines = stats_of(Trainer(small(tmp_path)).fit().run)
    before = {"seconds": 0.0, "images": 0}
    for line in lines:
        seconds, images = line["seconds"] - before["seconds"], line["images"] - before["images"]
        # Seconds are rounded to milliseconds.
        assert images / (seconds + 0.0011) <= line["images_per_second"] <= images / max(seconds - 0.0011, 1e-9)
        assert 50 < line["memory"] < 100_000
        before = line
    assert list(line) == [
        "step", "images", "seconds", "cpu_seconds", "critic_loss", "generator_loss", "estimate", "held_out", "penalty", "norm_mean", "norm_std",
        "norm_max", "images_per_second", "memory",
    ]  # fmt: skip


class ByHand(Callback):
    """The estimate on held-out data, with the networks as they are at a tick."""

    def __init__(self):
        self.pairs = []

    @torch.no_grad()
    def on_tick(self, trainer, stats):
        data, batch = trainer.dataset, trainer.config.batch
        real = (data.held_out.double() - data.offset) / data.scale
        rng = torch.Generator().manual_seed(stats.step)
        latents = [torch.randn(batch, 4, generator=rng) for _ in range(math.ceil(512 / batch))]
        fakes = trainer.generator(torch.cat(latents))
        wanted = trainer.critic(real.float()[:512]).mean() - trainer.critic(fakes).mean()
        self.pairs.append((stats.held_out, float(wanted)))


@pytest.mark.parametrize("batch", [8, 100])
def test_held_out_estimate(tmp_path, batch):
    hand = ByHand()
    Trainer(small(tmp_path, steps=40, batch=batch), callbacks=[hand]).fit()
    assert len(hand.pairs) == 8
    for ours, wanted in hand.pairs:
        assert ours == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    # It is not just a copy of the estimate on training data.
    lines = stats_of(tmp_path / "00000-digits")
    assert all(abs(line["held_out"] - line["estimate"]) > 1e-6 for line in lines)


def test_lines_leave_no_trace_in_the_training(tmp_path):
    """It changes neither random states nor the running means of a BatchNorm."""
    ends = []
    for tick in (1, 1000):
        trainer = Trainer(small(tmp_path, steps=6, tick=tick, **{"network.kind": "conv"}))
        trainer.fit()
        ends.append({**trainer.generator.state_dict(prefix="g."), **trainer.critic.state_dict(prefix="c.")})
    assert any(name.endswith("running_mean") for name in ends[0])
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_held_out_data_is_never_trained_on(tmp_path, monkeypatch):
    drawn = []
    step = CriticStep.__call__

    def stepping(self, real, fake, **options):
        drawn.append(real)
        return step(self, real, fake, **options)

    monkeypatch.setattr(CriticStep, "__call__", stepping)
    trainer = Trainer(small(tmp_path, steps=20, batch=100))
    trainer.fit()
    data = trainer.dataset
    seen = {row.numpy().tobytes() for row in torch.cat(drawn)}
    held_out = {row.numpy().tobytes() for row in data.scaled(data.held_out)}
    trained = {row.numpy().tobytes() for row in data.samples()}
    assert seen == trained
    assert not seen & (held_out - trained)


def test_few_samples_have_no_held_out_ones(tmp_path):
    from gpgan.data import Dataset

    dataset = Dataset("few", torch.randn(15, 3))
    run = Trainer(small(tmp_path, "few", dataset), dataset=dataset).fit().run
    assert {line["held_out"] for line in stats_of(run)} == {None}


@pytest.mark.parametrize("settings", [{}, {"n_critic": 1, "penalty.lazy": 4}], ids=["", "lazy"])
def test_an_end_between_two_ticks_leaves_no_trace(tmp_path, settings):
    """The line written early is removed on resuming, and written again over all its steps."""
    whole = Trainer(small(tmp_path, name="whole", **settings)).fit().run
    stop = Do(lambda trainer: trainer.step == 7 and trainer.stop())
    run = Trainer(small(tmp_path, name="stopped", **settings), callbacks=[stop]).fit().run
    assert [line["step"] for line in stats_of(run)] == [5, 7]
    Trainer.resume(run).fit()
    assert numbers_of(run) == numbers_of(whole)
    assert [line["step"] for line in stats_of(run)] == [5, 10, 15, 20]


def numbers(*critic_losses, generator=1.0, **more):
    """The numbers of one step, as a task returns them."""
    values = {"critic_loss": torch.tensor(critic_losses), "generator_loss": torch.tensor(generator)}
    return values | {name: torch.tensor(value) for name, value in more.items()}


def test_the_first_step_that_is_not_finite_is_named():
    nan = math.nan
    cases = {
        "critic_loss is nan at step 6": [(5, 1.0, 1.0), (6, nan, 1.0), (7, nan, nan)],
        "generator_loss is inf at step 5": [(5, 1.0, math.inf), (6, nan, nan)],
        "critic_loss is -inf at step 7": [(5, 1.0, 1.0), (6, 1.0, 1.0), (7, -math.inf, nan)],
    }
    for (words, steps), gathered in itertools.product(cases.items(), (False, True)):
        meter = Meter()
        for step, critic, generator in steps:
            meter.add(step, numbers(1.0, critic, generator=generator))
            if gathered:  # a checkpoint between two ticks
                meter.state_dict()
        with pytest.raises(NotFiniteError) as raised:
            meter.check()
        assert str(raised.value) == words


def test_the_meter_begins_anew_after_reading():
    meter = Meter()
    meter.add(1, numbers(3.0, 5.0, norm_max=[1.0, 3.0]))
    first = meter.read(Processes())
    meter.add(2, numbers(5.0, generator=2.0, norm_max=[2.0]))
    second = meter.read(Processes())
    assert first == {"critic_loss": 4.0, "generator_loss": 1.0, "norm_max": 3.0}
    assert second == {"critic_loss": 5.0, "generator_loss": 2.0, "norm_max": 2.0}


@torch.no_grad()
def spoil(module, value):
    next(module.parameters()).view(-1)[3] = value


@pytest.mark.parametrize(
    ("owner", "value", "words"),
    [
        ("critic", math.nan, "critic_loss is nan at step 8; critic's layers.0.weight is not finite either"),
        ("generator", math.nan, "generator's layers.0.weight is not finite at step 7, although the losses are"),
        ("critic", math.inf, "critic_loss is nan at step 8; critic's layers.0.weight is not finite either"),
    ],
)
def test_the_guard_names_loss_step_and_tensor(tmp_path, owner, value, words):
    def at_7(trainer):
        if trainer.step == 7:
            spoil(getattr(trainer, owner), value)

    trainer = Trainer(small(tmp_path, checkpoint=5), callbacks=[Do(at_7)])
    with pytest.raises(DivergedError) as raised:
        trainer.fit()
    assert str(raised.value).startswith(f"{words}. The checkpoint of step 5 is intact.")
    for hint in ("--optimizer.lr (it is 0.002)", "--optimizer.clip", "--penalty.weight"):
        assert hint in str(raised.value)
    assert "--precision" not in str(raised.value)
    assert [line["step"] for line in stats_of(trainer.run)] == [5]
    state, path, problems = checkpoint.newest(trainer.run)
    assert (state["step"], path.name, problems) == (5, "latest.pt", [])
    for name in ("generator", "critic", "average"):
        assert all(value.isfinite().all() for value in state[name].values())
    assert Trainer.resume(trainer.run).fit().step == 20


def test_weights_that_are_not_finite_though_the_losses_are(tmp_path):
    def at_5(trainer):
        if trainer.step == 5:
            spoil(trainer.generator, math.inf)

    with pytest.raises(
        DivergedError, match=r"generator's layers.0.weight is not finite at step 5, although the losses are"
    ):
        Trainer(small(tmp_path), callbacks=[Do(at_5)]).fit()


def test_the_guard_looks_before_every_checkpoint(tmp_path):
    """Also between two ticks, so that what is saved is always finite."""

    def at_2(trainer):
        if trainer.step == 2:
            spoil(trainer.critic, math.nan)

    trainer = Trainer(small(tmp_path, tick=1000, checkpoint=2), callbacks=[Do(at_2)])
    with pytest.raises(DivergedError, match=r"critic's layers.0.weight is not finite at step 2.* of step 0 is intact"):
        trainer.fit()
    assert checkpoint.newest(trainer.run)[0]["step"] == 0


def test_a_scaler_and_half_precision_are_named_where_they_are_in_use(tmp_path):
    settings = {"precision": "fp16", "optimizer.clip": 1.0}
    trainer = Trainer(small(tmp_path, **settings), callbacks=[Do(lambda t: t.step == 7 and spoil(t.critic, math.nan))])
    with pytest.raises(DivergedError, match=r"critic_loss is nan at step 8.*use --precision fp32") as raised:
        trainer.fit()
    assert "--optimizer.clip" not in str(raised.value)


def test_stats_are_copied_and_tell_what_they_have():
    stats = Stats(1, 2, 3.0, 4.0, 5.0, {"estimate": 1.5, "held_out": None})
    for again in (copy.copy(stats), copy.deepcopy(stats), pickle.loads(pickle.dumps(stats))):
        assert (again, again.estimate, again.held_out) == (stats, 1.5, None)
    with pytest.raises(AttributeError, match="unknown number 'psnr'; this task reports estimate, held_out"):
        stats.psnr  # noqa: B018


def test_what_is_not_finite_is_null_in_a_line():
    line = Stats(1, 2, 3.0, 4.0, 5.0, {"a": math.inf, "b": math.nan, "c": 2.0, "d": None}).as_line()
    assert (line["a"], line["b"], line["c"], line["d"]) == (None, None, 2.0, None)


def test_of_one_step_the_first_number_that_is_not_finite_is_named():
    """A task's own order counts, not the alphabet's: its critic comes before its generator."""
    meter = Meter()
    meter.add(1, {"critic_loss": torch.tensor([math.nan]), "adversarial_loss": torch.tensor(math.nan)})
    with pytest.raises(NotFiniteError, match="critic_loss is nan at step 1"):
        meter.check()
