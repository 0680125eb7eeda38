"""The trainer as a library: objects of one's own, callbacks, how a run ends, and every setting of the training."""

import math
import random
import sys

import numpy as np
import pytest
import torch
from small_runs import Do, numbers_of, small, stats_of, without_pictures
from torch import nn

import gpgan
from gpgan.critic_step import CriticStep
from gpgan.data import Dataset
from gpgan.training import checkpoint
from gpgan.training.trainer import Trainer

POINTS = Dataset("points", torch.randn(200, 3, generator=torch.Generator().manual_seed(0)))
LABELLED = Dataset(
    "labelled", torch.arange(60.0).reshape(60, 1), 30.0, 30.0, labels=torch.arange(60) % 3, classes=("a", "b", "c")
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_pictures(monkeypatch)


def points(out, **settings):
    return small(out, "points", POINTS, **settings)


class Events(gpgan.Callback):
    """Notes what it is told, and fails where it is asked to."""

    def __init__(self, fails_at=None, name=""):
        self.events, self.fails_at, self.name = [], fails_at, name

    def note(self, event, trainer, argument=None):
        self.events.append((self.name + event, trainer.step, argument))
        if self.fails_at == (event, trainer.step):
            raise ZeroDivisionError(f"in {event}")

    def on_begin(self, trainer):
        assert (trainer.run / "config.json").exists()
        self.note("begin", trainer)

    def on_step(self, trainer):
        self.note("step", trainer)

    def on_tick(self, trainer, stats):
        assert stats_of(trainer.run)[-1]["step"] == trainer.step == stats.step
        self.note("tick", trainer)

    def on_checkpoint(self, trainer, path):
        assert checkpoint.read(path)["step"] == trainer.step
        self.note("checkpoint", trainer)

    def on_end(self, trainer, result):
        self.note("end", trainer, result)


def test_nothing_is_written_before_fit(tmp_path):
    config = points(tmp_path / "runs")
    trainer = Trainer(config, dataset=POINTS)
    assert (trainer.run, trainer.step, list(tmp_path.iterdir())) == (None, 0, [])
    assert (config.device, trainer.config.device) == ("auto", "cuda:0" if torch.cuda.is_available() else "cpu")
    result = trainer.fit()
    assert (result.step, result.reason, result.signal) == (20, "done", 0)
    assert result.run == trainer.run == tmp_path / "runs" / "00000-points"


def test_callbacks_are_told_in_order(tmp_path):
    seen = Events()
    result = Trainer(points(tmp_path, steps=5, tick=2, checkpoint=4), dataset=POINTS, callbacks=[seen]).fit()
    assert [event[:2] for event in seen.events] == [
        ("begin", 0), ("step", 1), ("step", 2), ("tick", 2), ("step", 3), ("step", 4), ("tick", 4), ("checkpoint", 4),
        ("step", 5), ("tick", 5), ("checkpoint", 5), ("end", 5),
    ]  # fmt: skip
    assert seen.events[-1][2] is result


def test_several_callbacks_are_told_in_the_order_given(tmp_path):
    first, second = Events(name="1 "), Events(name="2 ")
    first.events = second.events
    Trainer(points(tmp_path, steps=1), dataset=POINTS, callbacks=[first, second]).fit()
    assert [event[0] for event in first.events][:4] == ["1 begin", "2 begin", "1 step", "2 step"]


def states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


@pytest.mark.parametrize("at", [("begin", 0), ("step", 7), ("tick", 10), ("checkpoint", 8), ("end", 20)], ids=str)
def test_an_exception_in_a_callback_ends_the_run_and_the_last_checkpoint_stands(tmp_path, at):
    whole = Trainer(points(tmp_path, name="whole"), dataset=POINTS).fit().run
    torch.set_num_threads(2)
    before = states(), torch.get_num_threads()
    trainer = Trainer(points(tmp_path, name="broken", checkpoint=4), dataset=POINTS, callbacks=[Events(at)])
    with pytest.raises(ZeroDivisionError, match=f"in {at[0]}"):
        trainer.fit()
    assert (states(), torch.get_num_threads()) == before
    saved = checkpoint.newest(trainer.run)[0]["step"]
    assert saved == {"begin": 0, "step": 4, "tick": 8, "checkpoint": 8, "end": 20}[at[0]]
    if saved < 20:
        Trainer.resume(trainer.run, dataset=POINTS).fit()
    assert numbers_of(trainer.run) == numbers_of(whole)


def test_fit_goes_on_after_an_exception(tmp_path):
    whole = Trainer(points(tmp_path, name="whole"), dataset=POINTS).fit().run
    events = Events(("step", 7))
    trainer = Trainer(points(tmp_path, name="broken"), dataset=POINTS, callbacks=[events])
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    events.fails_at = None
    assert trainer.fit().step == 20
    assert numbers_of(trainer.run) == numbers_of(whole)


@pytest.mark.parametrize("step", [1, 7, 10])
def test_stop_saves_and_fit_goes_on(tmp_path, step):
    whole = Trainer(points(tmp_path, name="whole"), dataset=POINTS).fit().run
    trainer = Trainer(points(tmp_path, name="stopped"), dataset=POINTS)
    trainer.callbacks.append(Do(lambda t: t.step == step and t.stop()))
    result = trainer.fit()
    assert (result.reason, result.step) == ("stopped", step)
    assert checkpoint.newest(trainer.run)[0]["step"] == step
    result = trainer.fit()
    assert (result.reason, result.step, result.run) == ("done", 20, tmp_path / "stopped")
    assert numbers_of(trainer.run) == numbers_of(whole)
    weights = [(run / "generator.safetensors").read_bytes() for run in (trainer.run, whole)]
    assert weights[0] == weights[1]


def test_fit_of_a_run_that_is_done_trains_no_more(tmp_path):
    trainer = Trainer(points(tmp_path), dataset=POINTS)
    trainer.fit()
    before = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    result = trainer.fit()
    assert (result.step, result.reason) == (20, "done")
    assert all(torch.equal(value, before[name]) for name, value in trainer.generator.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["00000-points"]


def test_a_request_to_stop_at_the_last_step_is_no_stop(tmp_path):
    result = Trainer(points(tmp_path), dataset=POINTS, callbacks=[Do(lambda t: t.step == 20 and t.stop())]).fit()
    assert (result.reason, result.step) == ("done", 20)


def test_minutes(tmp_path):
    result = Trainer(points(tmp_path, steps=10**9, minutes=0.003), dataset=POINTS).fit()
    assert result.reason == "minutes"
    assert 0 < result.step < 10**9
    assert 0.18 <= stats_of(result.run)[-1]["seconds"] < 5
    assert checkpoint.newest(result.run)[0]["step"] == result.step


def test_threads_and_random_states_are_given_back(tmp_path):
    torch.set_num_threads(2)
    before, seen = states(), []

    def watch(trainer):
        seen.append((torch.get_num_threads(), torch.rand(1).item(), np.random.rand(), random.random()))

    for seed in (0, 1, 0):
        Trainer(points(tmp_path, steps=1, seed=seed), dataset=POINTS, callbacks=[Do(watch)]).fit()
    assert states() == before
    assert torch.get_num_threads() == 2
    # Within, the seed decides what networks and data of one's own draw.
    assert seen[0] == seen[2]
    assert seen[0][0] == 1
    assert all(a != b for a, b in zip(seen[0][1:], seen[1][1:], strict=True))


class Generator(nn.Module):
    def __init__(self, latent=4, shape=(3,), classes=0):
        super().__init__()
        self.net, self.classes = nn.Linear(latent + classes, shape[0]), classes

    def forward(self, latents, labels=None):
        if labels is not None:
            latents = torch.cat([latents, nn.functional.one_hot(labels, self.classes).float()], 1)
        return self.net(latents)


class Critic(nn.Module):
    def __init__(self, shape=(3,), classes=0):
        super().__init__()
        self.net, self.classes = nn.Sequential(nn.Linear(shape[0] + classes, 8), nn.Tanh(), nn.Linear(8, 1)), classes

    def forward(self, samples, labels=None):
        if labels is not None:
            samples = torch.cat([samples, nn.functional.one_hot(labels, self.classes).float()], 1)
        return self.net(samples)


def test_networks_and_data_by_object(tmp_path):
    generator, critic = Generator(), Critic()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    trainer = Trainer(points(tmp_path), dataset=POINTS, generator=generator, critic=critic)
    assert (trainer.generator, trainer.critic) == (generator, critic)
    trainer.fit()
    assert not any(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert all(p.requires_grad for p in critic.parameters())
    assert isinstance(trainer.sampler, Generator)
    trainer = Trainer.resume(trainer.run, steps=25, dataset=POINTS, generator=Generator(), critic=Critic())
    assert all(
        torch.equal(value, generator.state_dict()[name]) for name, value in trainer.generator.state_dict().items()
    )
    assert trainer.fit().step == 25
    with pytest.raises(ValueError, match=r"the data of .* changed since it was saved"):
        Trainer.resume(trainer.run, steps=30, dataset=LABELLED)


def test_one_network_by_object(tmp_path):
    generator = Generator()
    trainer = Trainer(points(tmp_path), dataset=POINTS, generator=generator)
    assert trainer.generator is generator
    assert type(trainer.critic).__name__ == "MLPCritic"
    assert trainer.fit().step == 20


MODULE = """
import torch
from torch import nn
from gpgan import Dataset

rows = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
data = Dataset("mine", rows, labels=torch.arange(100) % 2, classes=("a", "b"))

def load():
    return data

class Generator(nn.Module):
    def __init__(self, latent, shape, classes=0):
        super().__init__()
        self.net, self.classes = nn.Linear(latent, *shape), classes
    def forward(self, latents, labels=None):
        assert (labels is not None) == bool(self.classes)
        return self.net(latents)

def critic(shape, classes=0):
    class Critic(nn.Linear):
        def forward(self, samples, labels=None):
            return super().forward(samples)
    return Critic(*shape, 1)
"""


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("data", ["data", "rows", "load"])
def test_networks_and_data_by_name(tmp_path, monkeypatch, data, conditional):
    name = f"things_{data}_{conditional}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = {"network.generator": f"{name}:Generator", "network.critic": f"{name}:critic"}
    config = small(tmp_path / "runs", f"{name}:{data}", conditional=conditional and data != "rows", **own)
    result = Trainer(config).fit()
    assert type(Trainer.resume(result.run, steps=21).generator).__name__ == "Generator"
    assert Trainer.resume(result.run, steps=21).fit().step == 21


def test_objects_of_the_wrong_kind_are_named(tmp_path):
    config = points(tmp_path)
    cases = {
        "config is a dict": ({"config": {}}, TypeError),
        "dataset is a str": ({"dataset": "digits"}, TypeError),
        "dataset is a Tensor": ({"dataset": torch.zeros(9, 2)}, TypeError),
        "generator is a function": ({"generator": lambda z: z}, TypeError),
        "critic is a type": ({"critic": Critic}, TypeError),
        "callbacks holds a str; wanted gpgan.Callback objects": ({"callbacks": ["on_step"]}, TypeError),
        r"generator gave \(2, 2\) for two samples; wanted a Tensor \(2, 3\)": (
            {"generator": nn.Linear(4, 2)},
            ValueError,
        ),
        r"critic gave \(2, 5\) for two samples; wanted a Tensor \(2,\)": ({"critic": nn.Linear(3, 5)}, ValueError),
    }
    for message, (changes, error) in cases.items():
        given = {"config": config, "dataset": POINTS, **changes}
        with pytest.raises(error, match=message):
            Trainer(given.pop("config"), **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["tuple", "none"])
def test_outputs_of_the_wrong_kind_are_named(tmp_path, what):
    class Odd(nn.Linear):
        def forward(self, samples):
            return (super().forward(samples),) if what == "tuple" else None

    for name, size in (("generator", (4, 3)), ("critic", (3, 1))):
        kind = "tuple" if what == "tuple" else "NoneType"
        with pytest.raises(ValueError, match=f"{name} gave a {kind} for two samples; wanted a Tensor"):
            Trainer(points(tmp_path), dataset=POINTS, **{name: Odd(*size)})


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
    "linear": lambda done: 1 - done / 20,
    "cosine": lambda done: (1 + math.cos(math.pi * done / 20)) / 2,
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("lazy", [1, 4])
def test_learning_rates(tmp_path, name, lazy):
    """At step k, k - 1 steps are done. The critic's Adam is corrected for lazy penalties: lr * 4 / 5, beta ** (4 / 5)."""
    rates = []

    def watch(trainer):
        pair = trainer.round.generator_optimizer, trainer.round.critic_optimizer
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in pair])
        assert pair[0].param_groups[0]["betas"] == (0.5, 0.9)
        assert pair[1].param_groups[0]["betas"] == pytest.approx((0.5**ratio, 0.9**ratio))

    ratio = 1.0 if lazy == 1 else lazy / (lazy + 1)
    settings = {"optimizer.lr": 0.01, "optimizer.schedule": name, "optimizer.beta1": 0.5, "penalty.lazy": lazy}
    Trainer(points(tmp_path, **settings), dataset=POINTS, callbacks=[Do(watch)]).fit()
    wanted = [[0.01 * SCHEDULES[name](done), 0.01 * SCHEDULES[name](done) * ratio] for done in range(20)]
    np.testing.assert_allclose(rates, wanted, rtol=1e-12)


def calm(trainer):
    """Starts the scalers of float16 so low that no update is skipped while they come down."""
    for scaler in (trainer.round.critic_scaler, trainer.round.generator_scaler):
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
            [[line[n] for n in ("wasserstein", "critic_loss", "norm_mean")] for line in stats_of(run)]
        )
        assert {value.dtype for value in trainer.generator.parameters()} == {torch.float32}
        assert {value.dtype for value in trainer.critic.parameters()} == {torch.float32}
    size = np.abs(ends["fp32"]).max(axis=0)
    for precision in ("bf16", "fp16"):
        difference = np.abs(ends[precision] - ends["fp32"]).max(axis=0) / size
        assert 0 < difference.max() < 0.05, (precision, difference)


class Spy(nn.Module):
    """A critic that notes under which autocast it runs."""

    def __init__(self):
        super().__init__()
        self.net, self.seen = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), []

    def forward(self, samples):
        scores = self.net(samples)
        enabled = torch.is_autocast_enabled("cpu")
        self.seen.append((samples.dtype, scores.dtype, torch.get_autocast_dtype("cpu") if enabled else None))
        return scores


def test_the_penalty_of_float16_is_computed_in_float32(tmp_path, monkeypatch):
    """The critic's runs for scores are float16, that for the penalty is not, nor are its norms."""
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
    # Steps since the last overflow: the first ones bring the scale down.
    assert 0 < state["generator_scaler"]["_growth_tracker"] <= 10
    assert 0 < state["critic_scaler"]["_growth_tracker"] <= 20
    fresh = Trainer(points(tmp_path, precision="fp16"), dataset=POINTS).round.critic_scaler
    assert state["critic_scaler"]["scale"] != fresh.get_scale()
    trainer = Trainer.resume(run, dataset=POINTS)
    assert trainer.round.critic_scaler.state_dict() == state["critic_scaler"]
    trainer.fit()
    assert numbers_of(run) == numbers_of(whole)
    plain = Trainer(points(tmp_path, name="plain"), dataset=POINTS).fit().run
    assert checkpoint.newest(plain)[0]["critic_scaler"] == {}


def test_an_overflow_of_float16_is_no_divergence(tmp_path):
    """A scale that is too large for the losses: updates are skipped until it has come down, and training goes on."""
    scales = []
    trainer = Trainer(points(tmp_path, precision="fp16"), dataset=POINTS)
    for scaler in (trainer.round.critic_scaler, trainer.round.generator_scaler):
        scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**120})
    trainer.callbacks.append(Do(lambda t: scales.append(t.round.critic_scaler.get_scale())))
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


def test_each_sample_comes_with_its_own_label(tmp_path, monkeypatch):
    seen = []
    step = CriticStep.__call__

    def stepping(self, real, fake, **options):
        seen.append((real.clone(), options["critic_args"][0].clone()))
        return step(self, real, fake, **options)

    monkeypatch.setattr(CriticStep, "__call__", stepping)
    shape = LABELLED.shape
    trainer = Trainer(
        small(tmp_path, "labelled", LABELLED, conditional=True),
        dataset=LABELLED,
        generator=Generator(4, shape, 3),
        critic=Critic(shape, 3),
    )
    trainer.fit()
    real, labels = (torch.cat(each) for each in zip(*seen, strict=True))
    assert torch.equal((real[:, 0] * 30 + 30).round().long() % 3, labels)
    assert len(labels.unique()) == 3


def test_a_conditional_run_learns_its_classes(tmp_path):
    """Three classes, far apart; without labels the three make one heap."""
    rows = (
        torch.randn(300, 1, generator=torch.Generator().manual_seed(0)) * 0.05 + torch.arange(300).view(-1, 1) % 3 - 1
    )
    dataset = Dataset("three", rows, labels=torch.arange(300) % 3, classes=("a", "b", "c"))
    settings = {
        "steps": 300, "tick": 100, "batch": 32, "n_critic": 5, "network.width": 32, "network.ema": 0.9, "optimizer.lr": 5e-3,
        "penalty.weight": 1.0,
    }  # fmt: skip
    trainer = Trainer(small(tmp_path, "three", dataset, conditional=True, **settings), dataset=dataset)
    trainer.fit()
    labels = torch.arange(3).repeat_interleave(50)
    with torch.no_grad():
        fakes = trainer.sampler(torch.randn(150, 4), labels).view(3, 50)
    assert fakes.mean(1).tolist() == pytest.approx([-1, 0, 1], abs=0.35)
    assert fakes.std(1).max() < 0.35


def test_the_penalty_takes_effect(tmp_path):
    without = stats_of(Trainer(small(tmp_path, **{"penalty.weight": 0.0})).fit().run)
    assert {line["penalty"] for line in without} == {0.0}
    ends = []
    settings = {"steps": 60, "tick": 20, "batch": 32, "network.width": 16}
    for weight, target in ((0.0, 1.0), (10.0, 1.0), (10.0, 3.0)):
        penalty = {"penalty.weight": weight, "penalty.target": target}
        ends.append(stats_of(Trainer(small(tmp_path, **settings, **penalty)).fit().run)[-1]["norm_mean"])
    assert abs(ends[1] - 1) < 0.3
    assert abs(ends[2] - 3) < 0.6
    assert abs(ends[0] - 1) > 0.5


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


@pytest.mark.gpu
def test_a_step_waits_for_no_device(tmp_path):
    """Between two ticks nothing is read from the GPU."""

    def watch(trainer):
        torch.cuda.set_sync_debug_mode("error" if 2 <= trainer.step < 9 else "default")

    settings = {"steps": 10, "tick": 100, "snapshot": 100, "device": "cuda"}
    try:
        for precision in ("fp32", "bf16"):
            for kind in ("mlp", "conv"):
                config = small(tmp_path, precision=precision, **settings, **{"network.kind": kind})
                assert Trainer(config, callbacks=[Do(watch)]).fit().step == 10
    finally:
        torch.cuda.set_sync_debug_mode("default")
