"""Checkpoints: intact or reported as damaged, never run as code, and always one to resume from."""

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from same_runs import assert_same, difference, draw_bits, small, state_of

from gpgan.cli import main
from gpgan.records import checkpoint
from gpgan.records.checkpoint import CheckpointError
from gpgan.training.trainer import Trainer

STATE = {
    "step": 3,
    "tensors": [
        torch.randn(3, 4),
        torch.randn(4, 3).t(),
        torch.tensor(7),
        torch.empty(0, 2),
        torch.randn(5).bfloat16(),
    ],
    "plain": (None, True, 1, -0.0, float("nan"), float("inf"), "text \u00e9\n", {0: {"betas": (0.0, 0.9)}}),
    "bytes": torch.arange(9, dtype=torch.uint8).view(3, 3)[:, 1],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 20 steps with a checkpoint every five steps, that of step 10 kept permanently."""
    with pytest.MonkeyPatch.context() as patch:
        draw_bits(patch)
        out = tmp_path_factory.mktemp("runs")
        return Trainer(small(out, "ring", steps=20, checkpoint=5, keep=10, snapshot=100)).fit().run


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run, to damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def save(run, step, best=False, keep=False):
    """A checkpoint that differs from others only in its step."""
    return checkpoint.save(run, {"step": step, "weights": torch.full((64,), float(step))}, best=best, keep=keep)


def steps(run):
    """The step of each checkpoint of a run, by file name."""
    return {path.stem: checkpoint.read(path)["step"] for path in (run / "checkpoints").iterdir()}


def damage(path, how="altered"):
    content = path.read_bytes()
    if how == "altered":
        place = content.index(torch.tensor(checkpoint.read(path)["step"], dtype=torch.float32).numpy().tobytes() * 64)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2])


def test_what_is_read_is_what_was_saved(tmp_path):
    path = checkpoint.save(tmp_path, STATE, best=False, keep=False)
    assert path == tmp_path / "checkpoints" / "latest.pt"
    assert difference(checkpoint.read(path), STATE) == ""
    assert [each.name for each in (tmp_path / "checkpoints").iterdir()] == ["latest.pt"]


def test_a_run_s_checkpoint_needs_no_code_of_gpgan(trained):
    state = torch.load(trained / "checkpoints" / "latest.pt", weights_only=True)
    assert difference(checkpoint.read(trained / "checkpoints" / "latest.pt"), {**state, "sha256": 0}) != ""
    assert state["step"] == 20
    assert {"generator", "critic", "average", "generator_optimizer", "critic_optimizer", "rng", "random"} <= set(state)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", 1j, [torch.float32]], ids=lambda value: type(value).__name__
)
def test_what_would_not_load_is_not_saved(tmp_path, value):
    save(tmp_path, 1)
    with pytest.raises(TypeError, match="a checkpoint cannot hold a"):
        checkpoint.save(tmp_path, {"step": 2, "odd": value}, best=False, keep=False)
    assert steps(tmp_path) == {"latest": 1}


class Creates:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("checksum", [False, True])
def test_a_pickled_object_is_refused_and_not_run(tmp_path, checksum):
    witness, path = tmp_path / "witness", tmp_path / "code.pt"
    state = {"step": 1, "code": Creates(witness)}
    torch.save({**state, "sha256": "0" * 64} if checksum else state, path)
    with pytest.raises(CheckpointError, match=r"code\.pt cannot be read"):
        checkpoint.read(path)
    assert not witness.exists()
    torch.load(path, weights_only=False)
    assert witness.exists()  # it would have


ODD = {
    "no dictionary": (torch.zeros(3), "is not a gpgan checkpoint"),
    "no checksum": ({"step": 1}, "is not a gpgan checkpoint"),
    "another's checksum": ({"step": 1, "sha256": "0" * 64}, "is damaged"),
    "values that none holds": ({"step": torch.float32, "sha256": "0" * 64}, "odd.pt"),
    "tensors that have no bytes": ({"step": torch.eye(2).to_sparse(), "sha256": "0" * 64}, "odd.pt"),
}


@pytest.mark.parametrize("case", ODD)
def test_other_files_of_torch_are_no_checkpoints(tmp_path, case):
    content, message = ODD[case]
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(tmp_path / "odd.pt")


def test_a_list_that_holds_itself_is_no_checkpoint(tmp_path):
    endless = []
    endless.append(endless)
    torch.save({"step": endless, "sha256": "0" * 64}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"odd\.pt"):
        checkpoint.read(tmp_path / "odd.pt")


@pytest.mark.filterwarnings("ignore")  # torch warns about damaged files
def test_every_altered_bit_is_noticed_or_changes_nothing(trained, tmp_path):
    """Some bytes of an archive are unused: padding, names of members, dates."""
    whole = trained / "checkpoints" / "latest.pt"
    content, state, path = whole.read_bytes(), checkpoint.read(whole), tmp_path / "altered.pt"
    random_bits = random.Random(0)
    pickled = content.index(b"data.pkl"), content.index(b".format_version")
    places = [random_bits.randrange(len(content)) for _ in range(150)]
    places += [random_bits.randrange(*pickled) for _ in range(100)]  # where most can go wrong
    found = Counter()
    for place in places:
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << random_bits.randrange(8)]) + content[place + 1 :]
        )
        try:
            loaded = checkpoint.read(path)
        except CheckpointError as error:
            found["noticed" if str(path) in str(error) else "not named"] += 1
        else:
            assert difference(state, loaded) == "", f"byte {place}"
            found["says nothing"] += 1
    # With many small members there is much padding before each of them.
    assert found["noticed"] > 150, found
    assert not found["not named"]


def test_every_truncation_is_noticed(trained, tmp_path):
    content = (trained / "checkpoints" / "latest.pt").read_bytes()
    path = tmp_path / "short.pt"
    lengths = random.Random(0).sample(range(len(content)), 25)
    for length in [0, 1, len(content) // 2, len(content) - 100, len(content) - 1, *lengths]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"short\.pt"):
            checkpoint.read(path)


def test_names_of_a_run(trained):
    """20 steps, saved every five: the newest two, the permanent ones, and the best."""
    saved = steps(trained)
    assert {**saved, "best": 0} == {"latest": 20, "previous": 15, "step-0000010": 10, "step-0000020": 20, "best": 0}
    assert saved["best"] in (5, 10, 15, 20)


@pytest.mark.parametrize("how", ["altered", "truncated"])
def test_fallback_goes_through_all_that_there_is_and_names_the_damaged(tmp_path, how):
    for step, best, keep in (
        (1, False, True),
        (2, True, False),
        (3, False, True),
        (4, False, False),
        (5, False, False),
    ):
        save(tmp_path, step, best, keep)
    folder, named = tmp_path / "checkpoints", []
    for name, step in (("latest", 5), ("previous", 4), ("step-0000003", 3), ("step-0000001", 1), ("best", 2)):
        state, path, problems = checkpoint.newest(tmp_path)
        assert (path, state["step"], float(state["weights"][0])) == (folder / f"{name}.pt", step, step)
        assert [problem.split()[0] for problem in problems] == named
        damage(path, how)
        named.append(str(path))
    with pytest.raises(CheckpointError, match="has no intact checkpoint: ") as error:
        checkpoint.newest(tmp_path)
    assert all(path in str(error.value) for path in named)


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a file"])
def test_nothing_to_go_on_from(tmp_path, there, capsys):
    run = tmp_path / "run"
    if there == "a file":
        run.touch()
    elif there == "an empty folder":
        (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"run has no checkpoint; expected a run's folder"):
        checkpoint.newest(run)
    assert main(["resume", str(run)]) == 2
    assert capsys.readouterr().err.startswith(f"gpgan: {run} has no checkpoint")


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(run, trained, tmp_path, monkeypatch, capsys):
    draw_bits(monkeypatch)
    latest = run / "checkpoints" / "latest.pt"
    latest.write_bytes(latest.read_bytes()[:-1000])
    assert main(["resume", str(run)]) == 0
    out = capsys.readouterr().out
    assert f"{latest} cannot be read" in out
    assert "an older checkpoint is used" in out
    assert f"resuming {run} at step 15" in out
    log = (run / "log.txt").read_text()
    assert f"{latest} cannot be read" in log
    assert "resumed at step 15, to step 20" in log
    assert_same(trained, run)


def test_a_checkpoint_of_another_format_is_refused(run):
    for name in ("latest", "previous"):
        state = checkpoint.read(run / "checkpoints" / f"{name}.pt")
        checkpoint.save(run, {**state, "format": 999}, best=False, keep=False)
    with pytest.raises(
        CheckpointError,
        match=r"has format 999, and this gpgan reads 2 and 3; expected .* resume the run with the gpgan version named in its config.json",
    ):
        Trainer.resume(run, steps=30)


class PowerCut(BaseException):
    pass


def cut_at(monkeypatch, number):
    """Lets the rename of this number, counted from 1, not happen."""
    real, seen = Path.replace, []

    def replace(self, target):
        seen.append(target)
        if len(seen) == number:
            raise PowerCut
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize(("number", "left"), [(1, {"latest": 2, "previous": 1}), (2, {"previous": 2})])
def test_broken_off_at_a_rename(tmp_path, monkeypatch, number, left):
    save(tmp_path, 1)
    save(tmp_path, 2)
    with monkeypatch.context() as patch:
        cut_at(patch, number)
        with pytest.raises(PowerCut):
            save(tmp_path, 3)
    assert steps(tmp_path) == left
    state, _, problems = checkpoint.newest(tmp_path)
    assert (state["step"], problems) == (2, [])
    # And the next save, whenever it is interrupted, does not lose the only checkpoint.
    with monkeypatch.context() as patch:
        cut_at(patch, 1)
        with pytest.raises(PowerCut):
            save(tmp_path, 3)
    assert checkpoint.newest(tmp_path)[0]["step"] == 2
    save(tmp_path, 3)
    assert steps(tmp_path) == {"latest": 3, "previous": 2}


def test_broken_off_while_linking(tmp_path, monkeypatch):
    save(tmp_path, 1, best=True)
    with monkeypatch.context() as patch:
        cut_at(patch, 3)
        with pytest.raises(PowerCut):
            save(tmp_path, 2, best=True)
    assert checkpoint.read(tmp_path / "checkpoints" / "best.pt")["step"] == 1
    save(tmp_path, 3, best=True)
    assert steps(tmp_path) == {"latest": 3, "previous": 2, "best": 3}


@pytest.mark.parametrize("links", [True, False])
def test_best_and_kept_stay_as_they_are(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    save(tmp_path, 1, best=True, keep=True)
    folder = tmp_path / "checkpoints"
    assert (folder / "latest.pt").samefile(folder / "best.pt") == links
    for step in (2, 3, 4):
        save(tmp_path, step)
    assert steps(tmp_path) == {"latest": 4, "previous": 3, "best": 1, "step-0000001": 1}
    save(tmp_path, 5, best=True)
    save(tmp_path, 6)
    assert steps(tmp_path) == {"latest": 6, "previous": 5, "best": 5, "step-0000001": 1}


def test_best_is_the_one_of_the_lowest_estimate_after_its_peak(tmp_path, monkeypatch):
    """Early estimates are low because the critic is untrained."""
    draw_bits(monkeypatch)
    estimates = iter([0.1, 0.5, 2.0, 1.0, 0.7, 0.9, 1.2])
    trainer = Trainer(small(tmp_path, "ring", steps=7, tick=1, checkpoint=1, snapshot=100))
    monkeypatch.setattr(trainer.task, "held_out_estimate", lambda *_: next(estimates))
    run = trainer.fit().run
    assert steps(run)["best"] == 5
    assert state_of(run)["best"] == {"estimate": 0.7, "peak": 2.0, "last": 1.2}
