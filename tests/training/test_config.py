"""Every range of the configuration, and what only the data or the machine can refuse."""

import dataclasses
import math

import pytest
import torch

from gpgan import ops
from gpgan.data import Dataset, load
from gpgan.training.config import Config, NetworkConfig, OptimizerConfig, PenaltyConfig
from gpgan.training.setup import prepare

BAD = [
    (Config, "steps", 0), (Config, "n_critic", 0), (Config, "tick", 0), (Config, "snapshot", -1), (Config, "batch", 1),
    (Config, "threads", -1), (Config, "seed", -1), (Config, "seed", 2**63), (Config, "name", ""), (Config, "name", ".."),
    (Config, "name", "a/b"), (NetworkConfig, "latent", 0), (NetworkConfig, "width", -1), (NetworkConfig, "depth", 0),
    (PenaltyConfig, "weight", -1.0), (PenaltyConfig, "weight", math.nan), (PenaltyConfig, "target", -0.5),
    (OptimizerConfig, "lr", 0.0), (OptimizerConfig, "lr", math.inf), (OptimizerConfig, "beta1", 1.0), (OptimizerConfig, "beta2", -0.1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "value"), BAD, ids=lambda v: getattr(v, "__name__", repr(v)))
def test_ranges(kind, name, value):
    data = {"data": "digits"} if kind is Config else {}
    with pytest.raises(ValueError, match=f"{name.replace('_', '.')} is .*; wanted"):
        kind(**data, **{name: value})


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config("digits").steps = 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 1798}, "batch is 1798 and digits has 1797 samples; wanted a batch from 2 to 1797"),
        ({"device": "nonsense"}, "device is 'nonsense', which this torch cannot use"),
        ({"device": "cuda:99"}, "device is 'cuda:99', which this torch cannot use"),
    ],
)
def test_what_the_data_or_the_machine_refuses(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        prepare(Config("digits", out=tmp_path / "runs", **changes), load("digits"))
    assert not (tmp_path / "runs").exists()


def test_native_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(ops, "why_not_native", lambda device: "it was not built")
    with pytest.raises(
        ValueError, match="impl is 'native', which cannot run on cpu: it was not built; or take --impl reference"
    ):
        prepare(Config("digits", out=tmp_path, device="cpu", impl="native"), load("digits"))
    assert prepare(Config("digits", out=tmp_path, device="cpu"), load("digits"))[0].impl == "reference"


def test_open_values_are_closed(tmp_path):
    config, generator, critic = prepare(Config("digits", out=tmp_path, device="cpu"), load("digits"))
    assert (config.device, config.threads) == ("cpu", torch.get_num_threads())
    assert (config.network.kind, config.network.width) == ("mlp", 256)
    assert next(generator.parameters()).device == next(critic.parameters()).device == torch.device("cpu")


@pytest.mark.parametrize(
    ("shape", "kind", "width"), [((3,), "mlp", 256), ((1, 8, 8), "mlp", 256), ((1, 28, 28), "conv", 32)]
)
def test_network_follows_the_samples(tmp_path, shape, kind, width):
    dataset = Dataset("made", torch.zeros(100, *shape))
    network = prepare(Config("made", out=tmp_path), dataset)[0].network
    assert (network.kind, network.width) == (kind, width)
    chosen = prepare(Config("made", out=tmp_path, network=NetworkConfig("mlp", width=5)), dataset)[0].network
    assert (chosen.kind, chosen.width) == ("mlp", 5)
