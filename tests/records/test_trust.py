"""Code that a run names is imported only in runs of one's own, or when asked for."""

import json
import shutil
import sys

import numpy as np
import pytest
from small_runs import without_pictures

from gpgan.cli import main
from gpgan.records import checkpoint, trust
from gpgan.training.saved import open_run
from gpgan.training.trainer import Trainer
from gpgan.util.imports import origin

CODE = """
from pathlib import Path
import numpy as np
from torch import nn

(Path(__file__).parent / "imported").touch()
SAMPLES = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)

def generator(latent, shape):
    return nn.Linear(latent, *shape)

class Critic(nn.Linear):
    def __init__(self, shape):
        super().__init__(*shape, 1)
"""
QUICK = ["--steps", "2", "--batch", "8", "--n-critic", "1", "--network.latent", "4", "--threads", "1", "--name", "run"]
COMMANDS = {
    "resume": ["resume", "runs/run", "--steps", "4"],
    "sample": ["sample", "runs/run", "-n", "2"],
    "eval": ["eval", "runs/run", "-n", "8"],
    "export": ["export", "runs/run"],
}
ALL = ["mine:SAMPLES", "--network.generator", "mine:generator", "--network.critic", "mine:Critic"]
NETWORKS = ["points.npy", *ALL[1:]]
DATA = ALL[:1]
# Sampling and exporting need no data, so they do not load it.
IMPORTING = {
    **{("all", command): ALL for command in COMMANDS},
    **{("networks", command): NETWORKS for command in COMMANDS},
    **{("data", command): DATA for command in ("resume", "eval")},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder, with code and an empty state folder."""
    without_pictures(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "mine.py").write_text(CODE)
    np.save("points.npy", np.random.default_rng(0).normal(size=(40, 2)))
    forget()
    yield tmp_path
    forget()


def forget():
    """As in a new process."""
    sys.modules.pop("mine", None)


def train(here, what):
    assert main(["train", *what, *QUICK]) == 0
    forget()
    (here / "imported").unlink(missing_ok=True)


@pytest.mark.parametrize(("what", "command"), IMPORTING)
def test_a_run_from_elsewhere_imports_nothing_unless_asked(here, capsys, what, command):
    train(here, IMPORTING[what, command])
    shutil.rmtree(here / "state")  # now it is somebody else's
    capsys.readouterr()
    assert main(COMMANDS[command]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "names Python code that it would run, " in err
    assert "or --trust-code (in Python trust_code=True) if you trust the code" in err
    assert not (here / "imported").exists()
    if command != "export":  # which takes seconds
        assert main([*COMMANDS[command], "--trust-code"]) == 0
        assert (here / "imported").exists()


@pytest.mark.parametrize("command", ["sample", "eval", "resume"])
def test_a_run_of_one_s_own_needs_no_flag_wherever_it_moves(here, command):
    train(here, ALL)
    shutil.move(here / "runs" / "run", here / "moved")
    arguments = [part.replace("runs/run", str(here / "moved")) for part in COMMANDS[command]]
    assert main(arguments) == 0
    assert (here / "imported").exists()


@pytest.mark.parametrize("command", ["sample", "export"])
def test_data_that_is_not_needed_is_not_imported(here, command, monkeypatch):
    train(here, DATA)
    shutil.rmtree(here / "state")
    monkeypatch.setattr("gpgan.cli.export.export", lambda *_: 1 / 0)  # slow, and later
    assert main(COMMANDS[command]) == (2 if command == "export" else 0)
    assert not (here / "imported").exists()


def test_a_file_of_the_same_name_elsewhere_is_not_one_s_own_code(here, capsys, monkeypatch):
    """As in the folder of a run that came with code of its own."""
    train(here, NETWORKS)
    other = here / "other"
    other.mkdir()
    shutil.copy(here / "mine.py", other)
    shutil.copytree(here / "runs", other / "runs")
    monkeypatch.chdir(other)
    assert main(COMMANDS["sample"]) == 2
    err = capsys.readouterr().err
    assert f"'mine:generator' from {here}/mine.py, and here it is {other}/mine.py" in err
    assert not (other / "imported").exists()
    # Training it there with the flag makes it one's own there.
    assert main([*COMMANDS["resume"], "--trust-code"]) == 0
    forget()
    assert main(COMMANDS["sample"]) == 0


def test_a_checkpoint_that_names_other_code_than_the_run_was_trained_with(here, capsys):
    train(here, NETWORKS)
    state = checkpoint.newest(here / "runs" / "run")[0]
    config = json.loads(state["config"])
    config["network"]["generator"] = "antigravity:geohash"
    checkpoint.save(here / "runs" / "run", {**state, "config": json.dumps(config)}, best=False, keep=False)
    assert main(COMMANDS["sample"]) == 2
    assert "network.generator 'antigravity:geohash', and there is no record" in capsys.readouterr().err


@pytest.mark.parametrize("odd", ["../../../run", "", 7, None, "A" * 32])
def test_an_odd_id_has_no_record(here, odd):
    (here / "run.json").write_text('{"data": ["a:b", ""]}')
    with pytest.raises(ValueError, match="there is no record"):
        trust.check(here, odd, {"data": "a:b"})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"data": 3}', '{"data": ["a:b"]}'])
def test_a_damaged_record_is_none(here, content):
    path = here / "state" / "gpgan" / "runs" / f"{'0' * 32}.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(ValueError, match="there is no record"):
        trust.check(here, "0" * 32, {"data": "a:b"})


def test_in_python(here):
    train(here, ALL)
    run = here / "runs" / "run"
    assert Trainer.resume(run, steps=3).step == 2
    shutil.rmtree(here / "state")
    for opening in (open_run, lambda run: Trainer.resume(run, steps=3)):
        with pytest.raises(ValueError, match=r"trust_code=True"):
            opening(run)
    assert Trainer.resume(run, steps=3, trust_code=True).step == 2
    assert open_run(run, trust_code=True).dataset().name == "SAMPLES"


def test_objects_that_are_passed_are_not_imported(here):
    train(here, ALL)
    import mine

    dataset = open_run(here / "runs" / "run").dataset()
    own = {"generator": mine.generator(4, (2,)), "critic": mine.Critic((2,))}
    forget()
    (here / "imported").unlink()
    shutil.rmtree(here / "state")
    assert Trainer.resume(here / "runs" / "run", steps=3, dataset=dataset, **own).step == 2
    assert not (here / "imported").exists()


def test_none_is_not_an_object_that_is_passed(here):
    train(here, NETWORKS)
    shutil.rmtree(here / "state")
    with pytest.raises(ValueError, match="names Python code"):
        Trainer.resume(here / "runs" / "run", steps=3, generator=None, critic=None)
    assert not (here / "imported").exists()


def test_code_that_passed_objects_replace_does_not_become_one_s_own(here, capsys):
    train(here, ALL)
    dataset = open_run(here / "runs" / "run").dataset()
    shutil.rmtree(here / "state")
    import mine

    own = {"generator": mine.generator(4, (2,)), "critic": mine.Critic((2,))}
    forget()
    (here / "imported").unlink()
    Trainer.resume(here / "runs" / "run", steps=3, dataset=dataset, **own).fit()
    for command in ("sample", "eval"):
        assert main(COMMANDS[command]) == 2
    assert not (here / "imported").exists()


def test_a_state_folder_that_cannot_be_written_is_no_error(here, capsys):
    (here / "state").touch()
    train(here, ALL)
    assert "warning: other commands will need --trust-code for this run" in (here / "runs/run/log.txt").read_text()
    assert main(COMMANDS["sample"]) == 2


def test_runs_without_code_leave_no_record(here):
    assert main(["train", "points.npy", *QUICK]) == 0
    assert not (here / "state").exists()


def test_the_file_that_would_be_imported_is_found_without_importing(here):
    assert origin("mine:x") == str(here / "mine.py")
    assert not (here / "imported").exists()
    assert origin("no_such.module:x") == origin(":") == ""
    (here / "bare").mkdir()
    assert origin("bare.inner:x") == str(here / "bare")
    assert origin("gpgan.nn:build").endswith("gpgan/__init__.py")
    assert origin("builtins:dict") == ""


def test_code_in_a_folder_without_init(here):
    (here / "loose").mkdir()
    (here / "mine.py").rename(here / "loose" / "inner.py")
    train(here, ["points.npy", "--network.generator", "loose.inner:generator"])
    for name in ("loose.inner", "loose"):
        assert sys.modules.pop(name)
    assert main(COMMANDS["sample"]) == 0
    assert (here / "loose" / "imported").exists()
