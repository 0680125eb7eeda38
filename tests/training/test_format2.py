"""A checkpoint of format 2, from before there were tasks, is resumed: it was made by commit 9306bb1, as was its end.

configure("ring", batch=8, n_critic=2, tick=5, threads=1, steps=20, network={"latent": 4, "width": 4, "depth": 2},
          penalty={"lazy": 3}), stopped after step 12: latest.pt; not stopped: end.pt holds the networks.
"""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from same_runs import difference, draw_bits, small, state_of

from gpgan.cli import main
from gpgan.training.saved import open_run
from gpgan.training.trainer import Trainer

HERE = Path(__file__).with_name("format2")


@pytest.fixture
def run(tmp_path, monkeypatch):
    draw_bits(monkeypatch)
    folder = tmp_path / "old"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(HERE / "latest.pt", folder / "checkpoints" / "latest.pt")
    return folder


def test_it_is_resumed_to_where_the_old_version_came(run):
    before, expected = state_of(run), torch.load(HERE / "end.pt", weights_only=True)
    Trainer.resume(run).fit()
    end = state_of(run)
    assert (before["format"], end["format"], end["step"]) == (2, 3, 20)
    for part, weights in expected.items():
        for name, value in weights.items():
            # Another processor rounds otherwise.
            torch.testing.assert_close(end[part][name], value, rtol=1e-3, atol=1e-3)
        apart = [float((before[part][name] - value).abs().max()) for name, value in weights.items()]
        assert max(apart) > 5e-3, part


def test_it_ends_bit_for_bit_as_a_run_of_this_version(run, tmp_path):
    """Of one with the smaller rate and betas that lazy runs had then."""
    Trainer.resume(run).fit()
    settings = {"steps": 20, "network.width": 4, "network.depth": 2, "penalty.lazy": 3, "name": "new"}
    new = Trainer(small(tmp_path, "ring", **settings))
    new.task.correct_lazy()
    states = state_of(run), state_of(new.fit().run)
    for state in states:
        del state["config"]
    assert difference(*states) == ""


def test_samples_of_it(run, tmp_path, capsys):
    saved = open_run(run)
    assert (saved.config.task.name, saved.facts.name) == ("generation", "ring")
    assert main(["sample", str(run), "-n", "3", "--out", str(tmp_path / "a.npy")]) == 0
    assert "3 samples at step 12" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["adam", "rmsprop", "sgd"])
def test_a_lazy_run_keeps_the_rate_and_betas_that_it_began_with(tmp_path, kind):
    """Runs of earlier versions had c = k / (k + 1) times the rate, and their betas to the power c; new ones do not."""
    settings = {"penalty.lazy": 3, "optimizer.kind": kind, "optimizer.beta1": 0.5}
    names = {"betas", "alpha", "momentum"}

    def values(task):
        [group] = task.critic_optimizer.param_groups
        return group["lr"], {name: group[name] for name in names & group.keys()}

    found = []
    for old in (False, True):
        task, resumed = (Trainer(small(tmp_path, "ring", **settings)).task for _ in range(2))
        if old:
            task.correct_lazy()
        task.step(1)
        resumed.load_state_dict(copy.deepcopy(task.state_dict()))
        for each in (task, resumed):
            each.step(2)
        assert values(resumed) == values(task)
        assert difference(task.state_dict(), resumed.state_dict()) == ""
        found.append(values(task))
    assert found[1][0] == found[0][0] * 3 / 4
    for name, value in found[0][1].items():
        corrected = [beta**0.75 for beta in value] if name == "betas" else value**0.75
        assert found[1][1][name] == pytest.approx(corrected)
