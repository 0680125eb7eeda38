"""The ranges and types of all settings, and values that only the data or the machine rule out."""

import dataclasses
import math
import os
from pathlib import Path
from typing import get_args

import pytest
import torch

from gpgan import ops
from gpgan.data import Dataset
from gpgan.settings.config import OptimizerConfig, PenaltyConfig, options
from gpgan.tasks.generation.config import Config, GenerationConfig, NetworkConfig
from gpgan.tasks.resolve import resolve
from gpgan.util.processes import Processes

TREES = {
    "": Config,
    "task": GenerationConfig,
    "network": NetworkConfig,
    "penalty": PenaltyConfig,
    "optimizer": OptimizerConfig,
}
OPTIONS = {name: (field, wanted) for name, field, wanted in options(Config)}
WHOLE = [name for name, (_, wanted) in OPTIONS.items() if wanted is int]
NUMBERS = [name for name, (_, wanted) in OPTIONS.items() if wanted is float]
CHOICES = [name for name, (_, wanted) in OPTIONS.items() if get_args(wanted) and type(None) not in get_args(wanted)]
BOOLEANS = [name for name, (_, wanted) in OPTIONS.items() if wanted is bool]


def made(name, value):
    """The dataclass that holds the setting, with this value."""
    tree, _, leaf = name.rpartition(".")
    others = {"penalty": PenaltyConfig(weight=0)} if name == "weight_clip" else {}
    return TREES[tree](**{leaf: value}, **others)


def refused(name, value):
    shown = name.replace("_", "-").replace(".", r"\.")
    with pytest.raises((ValueError, TypeError), match=rf"^{shown} is .*; expected "):
        made(name, value)


def test_all_settings_are_known_to_these_tests():
    others = {
        "data",
        "preset",
        "out",
        "name",
        "device",
        "network.generator",
        "network.critic",
        "objective",
        "task.name",
    }
    assert {*WHOLE, *NUMBERS, *CHOICES, *BOOLEANS} | others == set(OPTIONS)
    assert len(OPTIONS) == sum(len(dataclasses.fields(tree)) for tree in TREES.values()) - 4
    assert all(field.metadata["help"] for field, _ in OPTIONS.values())


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers(name):
    limits = OPTIONS[name][0].metadata
    _, _, leaf = name.rpartition(".")
    assert getattr(made(name, limits["least"]), leaf) == limits["least"]
    for value in (limits["least"] - 1, limits["most"] + 1):
        refused(name, value)
    for value in (1.5, 2.0, "3", True, None, math.nan, [3]):
        refused(name, value)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name):
    limits = OPTIONS[name][0].metadata
    _, _, leaf = name.rpartition(".")
    least, below = limits["least"], limits["below"]
    inside = [math.nextafter(least, math.inf) if limits["above"] else least]
    outside = [least if limits["above"] else math.nextafter(least, -math.inf), math.nan, math.inf, -math.inf, below]
    inside.append(math.nextafter(below, -math.inf))
    for value in inside:
        assert getattr(made(name, value), leaf) == value
    for value in (*outside, "0.5", True, None):
        refused(name, value)


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    for value in get_args(OPTIONS[name][1]):
        made(name, value)
    for value in ("other", "", None, 3):
        refused(name, value)


@pytest.mark.parametrize("name", BOOLEANS)
def test_booleans(name):
    for value in ("yes", 1, None):
        refused(name, value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "x" * 256, "é" * 128, "a\nb", "a\x00b"])
def test_names_that_are_no_folder(name):
    with pytest.raises(ValueError, match=r"^name is .*; expected a single folder name; --out sets its parent"):
        Config("digits", name=name)


def test_names_that_are_one():
    for name in ("a b", "žluťoučký 馬", "x" * 255, "é" * 127, "-", ":smile:"):
        assert Config("digits", name=name).name == name


def test_settings_that_do_not_fit_each_other():
    with pytest.raises(
        ValueError, match="keep is 700 and checkpoint is 500; expected keep to be a multiple of checkpoint"
    ):
        Config("digits", keep=700)
    assert Config("digits", keep=1500).keep == 1500


def test_frozen():
    for tree in (Config("digits"), NetworkConfig(), PenaltyConfig(), OptimizerConfig()):
        name = dataclasses.fields(tree)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(tree, name, getattr(tree, name))


POINTS = Dataset("made", torch.randn(100, 2))
IMAGES = Dataset("made", torch.randn(100, 1, 9, 9))


def resolved(dataset=POINTS, **changes):
    return resolve(Config("made", **{"batch": 8, "device": "cpu", **changes}), dataset, Processes())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 101}, "batch is 101 and made has 100 samples to train on; expected a batch from 2 to 100"),
        ({"device": "nonsense"}, "device is 'nonsense', which this torch cannot use"),
        ({"device": "meta"}, "device is 'meta', which this torch cannot use"),
        ({"device": "cpu:1"}, "device is 'cpu:1', which this torch cannot use"),
        ({"device": "cuda:99"}, "device is 'cuda:99', which this torch cannot use"),
        ({"device": ""}, "device is '', which this torch cannot use"),
        (
            {"conditional": True},
            "conditional is True and made has no labels; expected data with labels, or no --conditional",
        ),
        (
            {"pack": 8, "network": NetworkConfig(norm="batch")},
            "network.norm is 'batch' and the batch of 8 is one pack of 8 for the critic, which BatchNorm cannot normalise",
        ),
        ({"threads": 100_000}, f"threads is 100000; expected a whole number from 0 to {os.cpu_count()}"),
    ],
)
def test_what_the_data_or_the_machine_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        resolved(**changes)


def test_native_that_is_missing(monkeypatch):
    monkeypatch.setattr(ops, "why_not_native", lambda device: "it was not built")
    with pytest.raises(ValueError, match="impl is 'native', which cannot run on cpu: it was not built; or use --impl"):
        resolved(impl="native")
    assert resolved().impl == "reference"


def test_open_values_are_closed():
    config = resolved(IMAGES, device="auto", out=Path("a"))
    wanted = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert (config.device, config.threads, config.impl) == (wanted, torch.get_num_threads(), "native")
    assert (config.network.kind, config.network.width) == ("mlp", 256)
    assert resolve(config, IMAGES, Processes()) == config


def test_a_processor_has_no_number():
    assert resolved(device="cpu:0").device == "cpu"


@pytest.mark.parametrize(
    ("shape", "kind", "width"),
    [
        ((3,), "mlp", 256),
        ((500,), "mlp", 256),
        ((3, 8, 8), "mlp", 256),
        ((3, 9, 8), "conv", 16),
        ((1, 28, 28), "conv", 16),
        ((1, 8, 8, 8), "conv", 16),
    ],
)
def test_networks_follow_the_samples(shape, kind, width):
    dataset = Dataset("made", torch.zeros(100, *shape))
    network = resolved(dataset).network
    assert (network.kind, network.width) == (kind, width)
    chosen = resolved(dataset, network=NetworkConfig("mlp", width=5)).network
    assert (chosen.kind, chosen.width) == ("mlp", 5)
