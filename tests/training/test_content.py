"""A checkpoint whose checksum is right but whose content is not: one sentence, before a step is done."""

import functools
import json
import random

import pytest
import torch
from same_runs import draw_bits, files_of, small

from gpgan.cli import main
from gpgan.records import checkpoint
from gpgan.records.checkpoint import CheckpointError
from gpgan.training.saved import open_run
from gpgan.training.trainer import Trainer

SIZE = {"steps": 2, "batch": 2, "n_critic": 1, "network.width": 2, "network.latent": 2, "network.depth": 1, "tick": 4}
KINDS = {
    "adam": {},
    "fp16": {"precision": "fp16"},
    "superresolve": {"task": "superresolve", "network.width": 2, "network.critic_width": 2, "network.depth": 1},
}
ODD = {"missing": None, "None": None, "text": "odd", "negative": -1, "a tensor": torch.ones(3), "empty": {}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    draw_bits(monkeypatch)


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        draw_bits(patch)
        settings = {**SIZE, **KINDS[request.param]}
        if request.param == "superresolve":
            settings = {name: value for name, value in settings.items() if name not in ("network.latent",)}
        out = tmp_path_factory.mktemp("run")
        return Trainer(small(out, "digits" if request.param == "superresolve" else "ring", **settings)).fit().run


def places(value, path=()):
    """The keys of all containers in a tree, from the outside in; of many similar ones, the first two."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))[:2]
    for key, each in items:
        yield (*path, key)
        if isinstance(each, dict | list | tuple) and len(path) < 4:
            yield from places(each, (*path, key))


def changed(value, path, odd):
    """A copy of the tree with one place changed."""
    key, *rest = path
    items = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    if rest:
        items[key] = changed(items[key], rest, odd)
    elif odd == "missing":
        del items[key]
    else:
        items[key] = ODD[odd]
    return items if isinstance(value, dict) else type(value)(items.values())


def write(run, state):
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    torch.save({**state, "sha256": checkpoint.checksum(state)}, run / "checkpoints" / "latest.pt")


def test_every_part_that_is_missing_or_odd_is_told_before_the_first_step(run):
    state = checkpoint.newest(run)[0]
    changes = [(path, odd) for path in places(state) for odd in ODD]
    refused = 0
    for path, odd in random.Random(0).sample(changes, 20):
        write(run, changed(state, path, odd))
        for opening in (open_run, functools.partial(Trainer.resume, steps=4)):
            problem = ""
            try:
                opened = opening(run)
            except ValueError as error:
                problem = str(error)
            if problem:
                assert str(run) in problem, (path, odd)
                assert "\n" not in problem, (path, odd)
                refused += 1
            elif isinstance(opened, Trainer):  # what was changed does not matter
                opened.task.step(3)
    assert refused > 10
    write(run, state)


@pytest.fixture
def ring(tmp_path):
    return Trainer(small(tmp_path, "ring", **SIZE)).fit().run


@pytest.mark.parametrize("command", [["resume", "--steps", "4"], ["sample"], ["eval"], ["export"]], ids=lambda c: c[0])
def test_the_commands_say_it_in_a_line(ring, capsys, command):
    state = checkpoint.newest(ring)[0]
    config = json.loads(state["config"])
    cases = {
        "'meter' is missing": {name: value for name, value in state.items() if name != "meter"},
        "step is '-3'": {**state, "step": -3},
        "unknown setting 'stesp'": {**state, "config": json.dumps({**config, "stesp": 3})},
        "data.scale is 'nan'": {**state, "data": {**state["data"], "scale": float("nan")}},
        "'average' is missing": {name: value for name, value in state.items() if name != "average"},
    }
    for what, content in cases.items():
        write(ring, content)
        before = files_of(ring)
        capsys.readouterr()
        name, *more = command
        assert main([name, str(ring), *more]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert f"{ring}/checkpoints/latest.pt is intact, but this gpgan cannot use its content ({what}" in err
        assert files_of(ring) == before


@pytest.mark.parametrize("kind", ["adam", "rmsprop", "sgd"])
def test_an_optimizer_that_lost_a_tensor_is_refused(tmp_path, kind):
    """torch would load it and fail in the first step."""
    run = Trainer(small(tmp_path, "ring", **SIZE, **{"optimizer.kind": kind, "optimizer.beta1": 0.5})).fit().run
    state = checkpoint.newest(run)[0]
    names = [name for name, value in state["critic_optimizer"]["state"][0].items() if value is not None]
    assert names
    for name in names:
        for odd in ("missing", "text", "a tensor"):
            write(run, changed(state, ("critic_optimizer", "state", 0, name), odd))
            with pytest.raises(CheckpointError, match=f"an optimizer's {name} does not fit a parameter of shape"):
                Trainer.resume(run, steps=4)
