"""Short runs: small networks, few steps, and no pictures unless a test needs them."""

import json
from unittest.mock import MagicMock

import torch

import gpgan
from gpgan.data import Dataset
from gpgan.data.kinds import Kind
from gpgan.records import recorder
from gpgan.tasks import superresolve

SMALL = {
    "steps": 20,
    "batch": 8,
    "n_critic": 2,
    "tick": 5,
    "threads": 1,
    "eval": 0,
    "network.kind": "mlp",
    "network.latent": 4,
    "network.width": 4,
    "network.depth": 2,
}


def small(out, data="digits", dataset=None, **settings):
    """The configuration of a small run in ``out``; nested settings by their dotted names."""
    return gpgan.configure(data, dataset, out=out, **{**SMALL, **settings})


POINTS = Dataset("points", torch.randn(200, 3, generator=torch.Generator().manual_seed(0)))
LABELLED = Dataset(
    "labelled", torch.arange(60.0).reshape(60, 1), 30.0, 30.0, labels=torch.arange(60) % 3, classes=("a", "b", "c")
)


def points(out, **settings):
    """The configuration of a small run on POINTS."""
    return small(out, "points", POINTS, **settings)


def stats_of(run):
    """The lines of stats.jsonl."""
    return [json.loads(line) for line in (run / "stats.jsonl").read_text("utf-8").splitlines()]


# Numbers that depend on the machine, not on the training.
TIMES = ("seconds", "cpu_seconds", "images_per_second", "memory")


def numbers_of(run):
    """The statistics that the seed determines."""
    return [{name: value for name, value in line.items() if name not in TIMES} for line in stats_of(run)]


def last_json(out):
    """The JSON object in the last line of a command's output."""
    assert out.endswith("\n")
    return json.loads(out.splitlines()[-1])


class Do(gpgan.Callback):
    """Calls a function after every step."""

    def __init__(self, function):
        self.function = function

    def on_step(self, trainer):
        self.function(trainer)


def without_pictures(monkeypatch):
    """Skips all drawing, which takes far longer than the training."""
    for name in ("Curves", "Board", "write_animation", "write_report"):
        monkeypatch.setattr(recorder, name, MagicMock())
    monkeypatch.setattr(Kind, "draw", MagicMock())
    monkeypatch.setattr(superresolve, "image_groups", MagicMock())
