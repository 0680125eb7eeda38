"""The user's code that draws random numbers."""

import random
import sys
import warnings

import numpy as np
import pytest
import torch
from small_runs import without_pictures

from gpgan.cli import main
from gpgan.data import load

MODULE = """
import random
import numpy as np
import torch

IMPORTED = torch.rand(20, 3)

def waves():
    return torch.sin(torch.rand(30, 1) * 6 + torch.arange(8) / 5)

def numpys():
    return np.random.normal(size=(20, 3))

def pythons():
    return np.array([[random.random() for _ in range(3)] for _ in range(20)])

def still():
    return torch.arange(60.0).view(20, 3)

def unseeded():
    return np.random.default_rng().normal(size=(30, 3))

class Shaken(torch.utils.data.Dataset):
    def __len__(self):
        return 20
    def __getitem__(self, number):
        return torch.full((3,), float(number)) + torch.randn(3), number % 2
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "drawn.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("drawn", None)


def states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


@pytest.mark.parametrize("name", ["waves", "numpys", "pythons", "Shaken", "IMPORTED"])
def test_the_samples_are_the_same_and_the_random_states_untouched(name):
    torch.manual_seed(5)
    before = states()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = load(f"drawn:{name}")
    assert states() == before
    assert len(caught) == (name != "IMPORTED")
    assert all("samples are drawn once, with fixed seeds" in str(each.message) for each in caught)
    # In a process of the same or of another state, whether the module is already imported or not.
    torch.manual_seed(6)
    random.seed(6)
    np.random.seed(6)
    assert load(f"drawn:{name}").fingerprint() == first.fingerprint()
    del sys.modules["drawn"]
    assert load(f"drawn:{name}").fingerprint() == first.fingerprint()


def test_nothing_is_said_of_code_that_draws_nothing():
    assert load("drawn:still").notes == ()


def test_a_run_on_drawn_data_is_resumed_sampled_and_evaluated(tmp_path, capsys, monkeypatch):
    without_pictures(monkeypatch)
    train = ["train", "drawn:waves", "--steps", "1", "--batch", "4", "--n-critic", "1", "--tick", "1", "--name", "r"]
    assert main([*train, "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.err.count("warning: drawn:waves: its code draws random numbers") == 1
    run = str(tmp_path / "r")
    assert "note: its code draws random numbers" in (tmp_path / "r" / "log.txt").read_text()
    for arguments in (["resume", run, "--steps", "2"], ["eval", run, "-n", "3"], ["sample", run, "-n", "2"]):
        assert main(arguments) == 0
        # Reported when the run starts or resumes, and not again.
        assert ("draws random" in "".join(capsys.readouterr())) == (arguments[0] == "resume")


def test_a_generator_without_a_seed_is_named_when_the_data_is_another(tmp_path, capsys, monkeypatch):
    without_pictures(monkeypatch)
    train = ["train", "drawn:unseeded", "--steps", "1", "--batch", "4", "--n-critic", "1", "--name", "r"]
    assert main([*train, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    for arguments in (["resume", "r", "--steps", "2"], ["eval", "r"]):
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert "Code must seed the generators that it makes, e.g. numpy.random.default_rng(0)" in err
        assert err.count("\n") == 1
