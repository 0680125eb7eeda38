"""A short run through the library: files, numbers, seeds and interrupts."""

import json
import math
import os
import signal

import matplotlib.image
import numpy as np
import pytest
import torch

import gpgan
from gpgan.data import load
from gpgan.nn import build
from gpgan.training.config import Config, NetworkConfig, OptimizerConfig, PenaltyConfig, preset
from gpgan.training.files import create_run
from gpgan.training.loop import train
from gpgan.training.recorder import Recorder
from gpgan.training.setup import prepare

SMALL = {"steps": 20, "batch": 8, "n_critic": 2, "tick": 5, "snapshot": 10, "threads": 1}


def run(out, data="digits", watch=lambda step, stats: None, name=None, **changes):
    """Trains small networks; returns the run's folder and whether it finished."""
    kind = "conv" if data == "digits" else "auto"
    network = changes.pop("network", NetworkConfig(kind, latent=4, width=4, depth=2))
    config = Config(data, out=out, name=name, network=network, **{**SMALL, **changes})
    dataset = load(data)
    config, generator, critic = prepare(config, dataset)
    folder = create_run(config.out, config.name, dataset.name)
    finished = train(config, dataset, generator, critic, Recorder(folder, config, dataset), watch)
    return folder, finished


def stats_of(folder):
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def numbers_of(folder):
    """The statistics without the time they took."""
    return [{name: value for name, value in line.items() if name != "seconds"} for line in stats_of(folder)]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs"))[0]


@pytest.fixture(scope="module")
def ring_run(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs"), data="ring")[0]


FILES = {
    "config.json", "stats.jsonl", "generator.pt", "reals.png", "fakes_init.png", "fakes_000010.png", "fakes_000020.png", "samples.png",
}  # fmt: skip


def test_every_file_is_there_and_no_other(digits_run, ring_run):
    assert {path.name for path in digits_run.iterdir()} == FILES
    assert {path.name for path in ring_run.iterdir()} == FILES


def test_config_is_resolved(digits_run):
    written = json.loads((digits_run / "config.json").read_text())
    config = written["config"]
    assert config["impl"] in ("native", "reference")
    assert config["device"] in ("cpu", "cuda")
    assert config["network"] == {"kind": "conv", "latent": 4, "width": 4, "depth": 2}
    assert config["optimizer"]["beta2"] == 0.9
    assert config["steps"] == 20
    assert written["data"] == {"samples": 1797, "shape": [1, 8, 8], "scale": 8.0, "offset": 8.0}
    assert written["versions"]["gpgan"] == gpgan.__version__
    assert written["versions"]["torch"] == torch.__version__


def test_stats(digits_run):
    lines = stats_of(digits_run)
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert [line["images"] for line in lines] == [5 * 2 * 8, 10 * 2 * 8, 15 * 2 * 8, 20 * 2 * 8]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    for line in lines:
        assert all(math.isfinite(value) for value in line.values())
        assert line["critic_loss"] == pytest.approx(line["penalty"] - line["wasserstein"], rel=1e-5, abs=1e-5)
        assert line["norm_max"] >= line["norm_mean"] > 0


def test_image_grid_is_of_the_data(digits_run):
    picture = (matplotlib.image.imread(digits_run / "reals.png")[..., :3] * 255).round().astype(int)
    tile, gap, frame = 56, 8, 40
    assert picture.shape == (10 * (tile + gap) + gap, 10 * (tile + gap) + gap, 3)
    first = (load("digits").samples[0, 0].numpy() + 1) * 127.5
    assert np.abs(picture[gap + 3 : gap + tile : 7, gap + 3 : gap + tile : 7, 0] - first).max() <= 1
    assert (picture[:gap] == frame).all()
    assert (picture[:, gap + tile : gap + tile + gap] == frame).all()


def test_fakes_change_and_samples_are_fresh(digits_run):
    names = ("fakes_init.png", "fakes_000010.png", "fakes_000020.png", "samples.png")
    pictures = [(digits_run / name).read_bytes() for name in names]
    assert len(set(pictures)) == 4


def test_generator_loads_without_pickled_code(digits_run):
    saved = torch.load(digits_run / "generator.pt", weights_only=True)
    network = saved["network"]
    generator, _ = build(
        network["kind"], saved["data"]["shape"], latent=4, width=4, depth=2, generator=torch.Generator().manual_seed(9)
    )
    generator.load_state_dict(saved["weights"])
    images = generator.eval()(torch.randn(3, 4))
    assert images.shape == (3, 1, 8, 8)


def test_same_seed_same_bits(tmp_path, digits_run):
    torch.manual_seed(99)
    again = run(tmp_path)[0]
    assert numbers_of(again) == numbers_of(digits_run)
    assert (again / "samples.png").read_bytes() == (digits_run / "samples.png").read_bytes()


def test_another_seed_differs(tmp_path, digits_run):
    other = run(tmp_path, seed=1)[0]
    assert all(
        a["critic_loss"] != b["critic_loss"] for a, b in zip(numbers_of(other), numbers_of(digits_run), strict=True)
    )


def test_pictures_do_not_change_the_training(tmp_path, digits_run):
    more = run(tmp_path, snapshot=3)[0]
    assert numbers_of(more) == numbers_of(digits_run)
    # The running means of a BatchNorm are no weights, but they too must come from the training alone.
    weights = [torch.load(folder / "generator.pt", weights_only=True)["weights"] for folder in (more, digits_run)]
    assert any(name.endswith("running_mean") for name in weights[0])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_penalty_and_decay_take_effect(tmp_path, digits_run):
    without = stats_of(run(tmp_path, penalty=PenaltyConfig(weight=0.0))[0])
    assert {line["penalty"] for line in without} == {0.0}
    constant = numbers_of(run(tmp_path, optimizer=OptimizerConfig(decay=False))[0])
    # The first tick ends at step 5, and the rates differ from the second step on.
    assert all(a["critic_loss"] != b["critic_loss"] for a, b in zip(constant, numbers_of(digits_run), strict=True))


def test_penalty_brings_the_gradient_to_its_target(tmp_path):
    weights = (0.0, 10.0)
    config = {"steps": 40, "tick": 10, "batch": 32, "network": NetworkConfig("conv", latent=4, width=8)}
    norms = [stats_of(run(tmp_path, penalty=PenaltyConfig(weight=w), **config)[0])[-1]["norm_mean"] for w in weights]
    assert abs(norms[1] - 1) < 0.3 < abs(norms[0] - 1)


def test_runs_are_numbered(tmp_path, ring_run):
    assert ring_run.name == "00000-ring"
    config = {"steps": 1, "n_critic": 1}
    assert [run(tmp_path, **config)[0].name for _ in range(2)] == ["00000-digits", "00001-digits"]
    assert run(tmp_path, name="mine", **config)[0] == tmp_path / "mine"


@pytest.mark.parametrize("columns", [1, 3])
def test_vectors_of_other_lengths(tmp_path, columns):
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(50, columns)))
    folder, _ = run(tmp_path, data=str(tmp_path / "v.npy"), steps=2)
    assert matplotlib.image.imread(folder / "samples.png").std() > 0.01


def test_colour_images_of_odd_size(tmp_path):
    np.save(tmp_path / "c.npy", np.random.default_rng(0).integers(0, 256, (20, 3, 9, 7), dtype=np.uint8))
    folder, _ = run(tmp_path, data=str(tmp_path / "c.npy"), steps=2)
    picture = matplotlib.image.imread(folder / "reals.png")
    assert (picture[..., 0] != picture[..., 1]).any()


def test_interrupt_saves_at_the_end_of_the_step(tmp_path):
    def watch(step, stats):
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    folder, finished = run(tmp_path, watch=watch)
    assert not finished
    assert signal.getsignal(signal.SIGINT) is before
    assert stats_of(folder)[-1]["step"] == 8
    assert (folder / "fakes_000008.png").exists()
    assert (folder / "samples.png").exists()
    assert torch.load(folder / "generator.pt", weights_only=True)["weights"]


def test_second_interrupt_is_immediate(tmp_path):
    def watch(step, stats):
        # To this very thread, so that the first is handled before the second comes: two that wait become one.
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    # A shell's background jobs start with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, watch=watch)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_divergence_is_named(tmp_path):
    with pytest.raises(FloatingPointError, match=r"_loss is \S+ at step \d+; lower --optimizer.lr"):
        run(tmp_path, optimizer=OptimizerConfig(lr=1e30))


def test_threads_are_given_back(tmp_path):
    torch.set_num_threads(2)
    seen = []
    run(tmp_path, watch=lambda step, stats: seen.append(torch.get_num_threads()), steps=1)
    assert (seen, torch.get_num_threads()) == ([1], 2)


@pytest.mark.gpu
def test_a_step_waits_for_no_device(tmp_path):
    """Between two ticks nothing is read from the GPU."""

    def watch(step, stats):
        torch.cuda.set_sync_debug_mode("error" if step < 9 else "default")

    try:
        assert run(tmp_path, watch=watch, steps=10, tick=100, snapshot=100, device="cuda")[1]
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_presets_fit_the_data(tmp_path):
    assert preset("digits", load("digits")).penalty.weight == 10
    assert preset("ring", load("ring")).penalty.weight == 0.1
    np.save(tmp_path / "few.npy", np.random.default_rng(0).normal(size=(5, 2)))
    assert preset("few", load(str(tmp_path / "few.npy"))).batch == 5
