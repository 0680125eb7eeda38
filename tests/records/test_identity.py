"""A checkpoint of another run is not taken for this one's."""

import json
import shutil

import pytest
from same_runs import draw_bits, files_of, small

from gpgan.cli import main
from gpgan.records import checkpoint, identity
from gpgan.training.trainer import Trainer

COMMANDS = [["resume", "--steps", "9"], ["sample", "-n", "2"], ["eval", "-n", "8"], ["export"]]


@pytest.fixture(scope="module")
def _pair(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        draw_bits(patch)
        out = tmp_path_factory.mktemp("runs")
        return [Trainer(small(out, "ring", steps=4, checkpoint=2, seed=seed)).fit().run for seed in (1, 2)]


@pytest.fixture
def pair(_pair, tmp_path, monkeypatch):
    """Copies of two runs of the same settings but for the seed."""
    draw_bits(monkeypatch)
    return [shutil.copytree(run, tmp_path / run.name) for run in _pair]


def latest(run):
    return run / "checkpoints" / "latest.pt"


def without_id(path, **more):
    """Writes a checkpoint as it was before runs had ids."""
    state = checkpoint.read(path)
    del state["id"]
    path.unlink()
    checkpoint.save(path.parent.parent, {**state, **more}, best=False, keep=False)


def test_every_part_of_a_run_has_its_id(pair):
    ids = [identity.of(run) for run in pair]
    assert len(set(ids)) == 2
    for run, own in zip(pair, ids, strict=True):
        assert json.loads((run / "config.json").read_text())["id"] == own
        assert {checkpoint.read(path)["id"] for path in (run / "checkpoints").iterdir()} == {own}
        assert Trainer.resume(run, steps=5).fit().run == run
        assert identity.of(run) == own == checkpoint.read(latest(run))["id"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_checkpoint_of_another_run_is_refused_in_a_line(pair, capsys, command):
    mine, other = pair
    for path in (mine / "checkpoints").iterdir():
        shutil.copy(latest(other), path)
    before = files_of(mine)
    name, *more = command
    assert main([name, str(mine), *more]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{latest(mine)} is a checkpoint of another run: its id is not the one in {mine}/config.json" in err
    assert files_of(mine) == before


def test_an_older_checkpoint_of_the_run_itself_is_used(pair, capsys):
    mine, other = pair
    shutil.copy(latest(other), latest(mine))
    assert main(["resume", str(mine)]) == 0
    out = capsys.readouterr().out
    assert "is a checkpoint of another run" in out
    assert f"resuming {mine} at step 2" in out


def test_runs_from_before_there_were_ids(pair):
    run = pair[0]
    settings = json.loads((run / "config.json").read_text())
    del settings["id"]
    (run / "config.json").write_text(json.dumps(settings))
    without_id(latest(run))
    assert identity.of(run) == ""
    assert Trainer.resume(run, steps=5).fit().step == 5
    assert identity.of(run) == checkpoint.read(latest(run))["id"] != ""
    # previous.pt has none.
    latest(run).unlink()
    assert checkpoint.newest(run)[0]["step"] == 4


def test_a_checkpoint_with_an_id_does_not_belong_to_a_run_without(pair):
    mine, other = pair
    settings = json.loads((mine / "config.json").read_text())
    del settings["id"]
    (mine / "config.json").write_text(json.dumps(settings))
    shutil.rmtree(mine / "checkpoints")
    shutil.copytree(other / "checkpoints", mine / "checkpoints")
    with pytest.raises(checkpoint.CheckpointError, match="is a checkpoint of another run"):
        checkpoint.newest(mine)


@pytest.mark.parametrize("content", [None, b"{", b"[]", b"[" * 9999, b"\xff"])
def test_without_a_readable_config_there_is_nothing_to_compare(pair, content):
    run = pair[0]
    own = checkpoint.read(latest(run))["id"]
    (run / "config.json").unlink()
    if content is not None:
        (run / "config.json").write_bytes(content)
    assert Trainer.resume(run, steps=5).fit().step == 5
    assert identity.of(run) == own
