"""The trainer as a library: the user's own objects, callbacks, labels, and how a run ends."""

import random
import sys

import numpy as np
import pytest
import torch
from small_runs import LABELLED, POINTS, Do, numbers_of, points, small, stats_of, without_pictures
from torch import nn

import gpgan
from gpgan.critic.step import CriticStep
from gpgan.data import Dataset
from gpgan.records import checkpoint
from gpgan.training.trainer import Trainer


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_pictures(monkeypatch)


class Events(gpgan.Callback):
    """Records its calls, and fails at a given one."""

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
    # During a run, the seed determines what the user's own networks and data draw.
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
        "callbacks holds a str; expected gpgan.Callback objects": ({"callbacks": ["on_step"]}, TypeError),
        r"generator returned \(2, 2\) for two samples; expected a Tensor of shape \(2, 3\)": (
            {"generator": nn.Linear(4, 2)},
            ValueError,
        ),
        r"critic returned \(2, 5\) for two samples; expected a Tensor of shape \(2,\)": (
            {"critic": nn.Linear(3, 5)},
            ValueError,
        ),
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
        with pytest.raises(ValueError, match=f"{name} returned a {kind} for two samples; expected a Tensor"):
            Trainer(points(tmp_path), dataset=POINTS, **{name: Odd(*size)})


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
    """Three classes, far apart; without labels they form one cluster."""
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
