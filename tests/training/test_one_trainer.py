"""One process trains a run at a time; others are refused, and commands that only read are safe meanwhile."""

import pytest
from same_runs import Do, assert_same, draw_bits, files_of, numbers_of, small

from gpgan.cli import main
from gpgan.records import checkpoint, lock
from gpgan.records.lock import LockedError
from gpgan.training.callbacks import Callback
from gpgan.training.trainer import Trainer
from gpgan.util import random_states


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    draw_bits(monkeypatch)
    monkeypatch.setattr(lock, "PATIENCE", 0.05)


def at(step, do):
    return Do(lambda trainer: do(trainer.run) if trainer.step == step else None)


def trainer_of(out, *callbacks, **settings):
    return Trainer(
        small(out, "ring", **{"steps": 12, "checkpoint": 2, "snapshot": 100, **settings}), callbacks=callbacks
    )


def test_a_run_that_is_training_is_not_resumed_and_can_be_read(tmp_path, capsys):
    one, seen = trainer_of(tmp_path / "one").fit().run, []

    @random_states.borrowed()  # those of this process are also the trainer's
    def disturb(run):
        before = files_of(run)
        assert main(["resume", str(run)]) == 2
        seen.append(capsys.readouterr().err)
        with pytest.raises(LockedError, match="is being trained by process"):
            Trainer.resume(run, steps=30)
        assert files_of(run) == before
        assert main(["sample", str(run), "-n", "2"]) == 0
        assert main(["eval", str(run), "-n", "8"]) == 0
        assert capsys.readouterr().err == ""
        assert list(run.rglob("*.partial")) == []

    other = trainer_of(tmp_path / "other", at(5, disturb)).fit().run
    assert seen[0].count("\n") == 1
    assert f"gpgan: {other} is being trained by process" in seen[0]
    assert "wait for its end, or stop it with Ctrl-C or SIGTERM, which save it" in seen[0]
    assert_same(one, other)
    assert not list(other.rglob(".*"))


def test_a_new_run_is_locked_from_the_start(tmp_path):
    class Begin(Callback):
        def on_begin(self, trainer):
            assert lock.is_free(trainer.run) is False

    assert trainer_of(tmp_path, Begin()).fit().step == 12


def test_a_run_that_another_process_trained_meanwhile_is_not_set_back(tmp_path, capsys):
    """Both read the checkpoint of step 12, and one is late: its data took longer to load, for example."""
    run = trainer_of(tmp_path).fit().run
    late = Trainer.resume(run, steps=40)
    assert Trainer.resume(run, steps=30).fit().step == 30
    before = files_of(run)
    with pytest.raises(
        LockedError, match=r"was trained by another process after its checkpoint of step 12 was read here"
    ):
        late.fit()
    after = files_of(run)
    assert {path: after[path] for path in before} == before
    assert checkpoint.newest(run)[0]["step"] == 30
    assert [line["step"] for line in numbers_of(run)] == [5, 10, 15, 20, 25, 30]


def test_the_command_line_says_so_in_a_line(tmp_path, capsys, monkeypatch):
    run, real = trainer_of(tmp_path).fit().run, Trainer._resume

    def late(self, *arguments):
        monkeypatch.setattr(Trainer, "_resume", real)
        Trainer.resume(run, steps=20).fit()
        real(self, *arguments)

    monkeypatch.setattr(Trainer, "_resume", late)
    assert main(["resume", str(run), "--steps", "30"]) == 2
    err = capsys.readouterr().err
    assert (err.count("\n"), "was trained by another process" in err) == (1, True)


def test_the_same_trainer_goes_on(tmp_path):
    one = trainer_of(tmp_path / "one").fit().run
    trainer = trainer_of(tmp_path / "two")
    trainer.callbacks = [Do(lambda trainer: trainer.step in (3, 7) and trainer.stop())]
    for step in (3, 7, 12):
        assert trainer.fit().step == step
        assert lock.is_free(trainer.run)
    assert_same(one, trainer.run)


def test_what_a_killed_process_left_is_cleared_and_what_others_write_is_not(tmp_path):
    run = trainer_of(tmp_path).fit().run
    dead, mine = ".999999999-0a1b.partial", ".1-0a1b.partial"  # process 1 always runs
    for folder in (run, run / "checkpoints"):
        for name in (dead, mine):
            (folder / name).touch()
    Trainer.resume(run, steps=13).fit()
    assert [path.relative_to(run).as_posix() for path in run.rglob(".*")] == [mine]
