"""An end that is cut short between the last checkpoint and the last files: resume makes up for it."""

import pytest
from same_runs import assert_same, draw_bits, files_of, small

from gpgan.cli import main
from gpgan.records import checkpoint
from gpgan.records.recorder import Recorder
from gpgan.training.callbacks import Callback
from gpgan.training.trainer import Trainer

# 13 steps: the last line of statistics is not at a tick, and the last picture not at a snapshot.
SETTINGS = {"steps": 13, "checkpoint": 3, "keep": 3, "snapshot": 6}


class Killed(BaseException):
    pass


class Breaks(Callback):
    def __init__(self, event):
        setattr(self, event, self.fail)

    def fail(self, trainer, *_):
        if trainer.step == trainer.config.steps:
            raise Killed


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    draw_bits(monkeypatch)


def trainer_of(out, **settings):
    return Trainer(small(out, "ring", name="run", **{**SETTINGS, **settings}))


def fails(*_, **__):
    raise Killed


@pytest.fixture
def whole(tmp_path):
    return trainer_of(tmp_path / "whole").fit().run


# In the order in which they happen after the last step.
PLACES = [
    (checkpoint, "_name"),
    (Recorder, "weights"),
    (Breaks, "on_checkpoint"),
    (Recorder, "snapshot"),
    (Recorder, "end"),
    (Breaks, "on_end"),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[1])
def test_resume_writes_what_is_missing(tmp_path, whole, monkeypatch, capsys, place):
    trainer = trainer_of(tmp_path / "cut")
    owner, name = place
    with monkeypatch.context() as patch:
        if owner is Breaks:
            trainer.callbacks = [Breaks(name)]
        else:
            on_step = Callback()
            on_step.on_step = lambda trainer: trainer.step == 13 and patch.setattr(owner, name, fails)
            trainer.callbacks = [on_step]
        with pytest.raises(Killed):
            trainer.fit()
    assert checkpoint.newest(trainer.run)[0]["step"] == 13
    assert main(["resume", str(trainer.run)]) == 0
    out = capsys.readouterr().out
    assert "at step 13, its last one: the last files are written again" in out
    assert "Done at step 13" in out
    assert_same(whole, trainer.run)
    for path, content in files_of(whole).items():
        if path.name not in ("log.txt", "config.json", "stats.jsonl") and path.suffix != ".pt":
            assert (trainer.run / path.relative_to(whole)).read_bytes() == content, path
    names = {path.name for path in (whole / "checkpoints").iterdir()}
    assert {path.name for path in (trainer.run / "checkpoints").iterdir()} == names
    for name in names:
        steps = [checkpoint.read(run / "checkpoints" / name)["step"] for run in (whole, trainer.run)]
        assert steps[0] == steps[1], name
    # And now it is done.
    before = files_of(trainer.run)
    assert main(["resume", str(trainer.run)]) == 2
    assert "is already at step 13; expected more" in capsys.readouterr().err
    assert files_of(trainer.run) == before


def test_more_steps_can_follow_directly(tmp_path, whole, monkeypatch):
    trainer = trainer_of(tmp_path / "cut", steps=9)
    trainer.callbacks = [Breaks("on_checkpoint")]
    with pytest.raises(Killed):
        trainer.fit()
    with pytest.raises(ValueError, match=r"steps is 5 and .* is already at step 9"):
        Trainer.resume(trainer.run, steps=5)
    assert_same(whole, Trainer.resume(trainer.run, steps=13).fit().run)


def test_killed_between_a_checkpoint_and_its_names(tmp_path, whole, monkeypatch):
    """The permanent checkpoint of step 6 and the best one are hard links, made after latest.pt."""
    trainer = trainer_of(tmp_path / "cut")
    real = checkpoint._name

    def name(latest, step, best, keep):
        if step == 6:
            raise Killed
        real(latest, step, best, keep)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_name", name)
        with pytest.raises(Killed):
            trainer.fit()
    assert not (trainer.run / "checkpoints" / "step-0000006.pt").exists()
    resumed = Trainer.resume(trainer.run).fit().run
    assert_same(whole, resumed)
    assert checkpoint.read(resumed / "checkpoints" / "step-0000006.pt")["step"] == 6
    assert list((resumed / "checkpoints").glob(".*")) == []


def test_killed_at_the_first_save_after_a_damaged_checkpoint(tmp_path, monkeypatch):
    """The damaged latest.pt must not take the place of the only intact one."""
    run = trainer_of(tmp_path, keep=0).fit().run
    latest = run / "checkpoints" / "latest.pt"
    (run / "checkpoints" / "best.pt").unlink()
    latest.write_bytes(latest.read_bytes()[:-1000])
    resumed, real = Trainer.resume(run), type(latest).replace

    def replace(self, target):
        if target == latest and self.name.endswith(".partial") and resumed.step > 12:
            raise Killed
        return real(self, target)

    monkeypatch.setattr(type(latest), "replace", replace)
    with pytest.raises(Killed):
        resumed.fit()
    assert checkpoint.newest(run)[0]["step"] == 12
