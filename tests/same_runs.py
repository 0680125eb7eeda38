"""Small runs, and a comparison of two runs: equal in every bit, except for times."""

import json
import math
import unittest.mock

import torch
from PIL import Image

import gpgan
from gpgan.data.kinds import Kind
from gpgan.records import recorder
from gpgan.tasks import superresolve

# Only sizes and intervals: nothing that changes how the numbers of a step are computed.
SMALL = {"batch": 8, "n_critic": 2, "tick": 5, "threads": 1, "network.latent": 4, "network.width": 8}
CLOCK = ("seconds", "cpu_seconds", "images_per_second", "memory")


SUPERRESOLVE = {
    **{name: SMALL[name] for name in ("batch", "n_critic", "tick", "threads")},
    **{"network.width": 4, "network.depth": 1, "network.critic_width": 4},
}


def small(out, data, **settings):
    """The configuration of a small run; nested settings by their dotted names."""
    usual = SUPERRESOLVE if settings.get("task") == "superresolve" else SMALL
    return gpgan.configure(data, out=out, **{**usual, **settings})


class Do(gpgan.Callback):
    """Calls a function after every step."""

    def __init__(self, function):
        self.function = function

    def on_step(self, trainer):
        self.function(trainer)


def numbers_of(run):
    """stats.jsonl, without times."""
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text("utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


def files_of(run):
    """Every file of a run and its content."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def state_of(run, name="latest.pt"):
    """The content of a checkpoint, without times, checksum and the run's id, which is random."""
    state = torch.load(run / "checkpoints" / name, weights_only=True)
    del state["seconds"], state["sha256"]
    for name in ("id", "cpu_seconds"):  # the oldest do not have them
        state.pop(name, None)
    return state


def assert_same(run, other):
    """Fails unless ``other`` ended as ``run`` did; it may have more pictures, from where it was stopped."""
    states = state_of(run), state_of(other)
    settings = [{**json.loads(state.pop("config")), "out": ""} for state in states]
    found = difference(*settings, "config") or difference(*states)
    found = found or difference(numbers_of(run), numbers_of(other), "stats.jsonl")
    pictures = [path.name for path in [*run.glob("fakes_*.png"), run / "samples.png"]]
    differ = [name for name in pictures if (other / name).read_bytes() != (run / name).read_bytes()]
    assert [found, *differ] == [""], [found, *differ]


def difference(a, b, where="state"):
    """The first place where two trees of tensors and plain values differ in a bit or a type; "" if they are equal."""
    if type(a) is not type(b):
        return f"{where} is a {type(a).__name__} and a {type(b).__name__}"
    if isinstance(a, torch.Tensor):
        same = (a.dtype, a.shape) == (b.dtype, b.shape) and bits(a) == bits(b)
        return "" if same else f"{where} is {a} and {b}"
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{where} has {list(a)} and {list(b)}"
        # An attribute that load_state_dict reads in addition to the tensors.
        pairs = [(key, a[key], b[key]) for key in a]
        pairs += [("_metadata", getattr(a, "_metadata", None), getattr(b, "_metadata", None))]
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            return f"{where} has {len(a)} and {len(b)} items"
        pairs = [(i, x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        both_nan = isinstance(a, float) and math.isnan(a) and math.isnan(b)
        return "" if a == b or both_nan else f"{where} is {a!r} and {b!r}"
    return next((found for key, x, y in pairs if x is not y and (found := difference(x, y, f"{where}[{key}]"))), "")


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def draw_bits(monkeypatch):
    """Makes each picture one row with the bits of its samples, and skips all other drawing."""

    def draw(kind, path, samples, *_):
        row = bits(samples)
        Image.frombytes("L", (len(row), 1), row).save(path)

    monkeypatch.setattr(Kind, "draw", draw)
    monkeypatch.setattr(superresolve, "image_groups", lambda path, groups: draw(None, path, groups["output"]))
    for name in ("Curves", "Board", "write_report", "write_animation"):
        monkeypatch.setattr(recorder, name, unittest.mock.Mock())
