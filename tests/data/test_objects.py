"""Data from a module's attribute."""

import sys

import pytest
import torch

from gpgan.data import load

MODULE = """
import numpy as np
import torch
from gpgan.data import Dataset

TENSOR = torch.arange(12.0).view(6, 2)
ARRAY = np.arange(12, dtype=np.uint8).reshape(3, 2, 2) * 20
REVERSED = ARRAY[::-1]
READ_ONLY = ARRAY.copy()
READ_ONLY.flags.writeable = False
BRAIN = TENSOR.bfloat16().requires_grad_()
WHOLE = Dataset("mine", TENSOR, 2.0, 1.0, labels=torch.arange(6) % 2, classes=("a", "b"))
BAD = Dataset("bad", torch.full((3, 2), float("nan")))
NUMBER = 3
EMPTY = []
MIXED = [torch.zeros(2, 3), torch.zeros(2, 4)]
WORDS = ["a", "b"]
MAPPING = {"x": 1}
PLAIN = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
HALF_LABELLED = [(torch.zeros(2), 1), torch.ones(2)]

def made():
    return TENSOR

def needs_more(path):
    return path

def fails():
    raise RuntimeError("the disk is gone")

class Pairs(torch.utils.data.Dataset):
    def __init__(self, label=int):
        self.label = label
    def __len__(self):
        return 6
    def __getitem__(self, number):
        if number >= 6:
            raise IndexError
        return torch.full((1, 4, 4), float(number)), self.label(number % 3 + 5)

class inner:
    TENSORS = Pairs(torch.tensor)
    FLOATS = Pairs(float)
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "some data").mkdir()
    (tmp_path / "some data" / "mymodule.py").write_text(MODULE)
    (tmp_path / "some data" / "needy.py").write_text("import no_such_package_anywhere")
    monkeypatch.chdir(tmp_path / "some data")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("mymodule", "needy"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("attribute", ["TENSOR", "made", "BRAIN"])
def test_tensors_and_functions(attribute):
    dataset = load(f"mymodule:{attribute}")
    assert dataset.stored.tolist() == torch.arange(12.0).view(6, 2).tolist()
    assert not dataset.stored.requires_grad
    assert dataset.samples().flatten()[[0, -1]].tolist() == [-1, 1]
    assert dataset.name == attribute


@pytest.mark.parametrize("attribute", ["ARRAY", "REVERSED", "READ_ONLY"])
def test_arrays(attribute):
    dataset = load(f"mymodule:{attribute}")
    wanted = torch.arange(12).view(3, 1, 2, 2) * 20
    assert torch.equal(dataset.stored.long(), wanted.flip(0) if attribute == "REVERSED" else wanted)
    assert dataset.stored.dtype == torch.uint8
    # torch would write to memory that NumPy marks as read-only.
    dataset.stored.fill_(1)
    array = sys.modules["mymodule"].ARRAY, sys.modules["mymodule"].READ_ONLY
    assert [int(part.max()) for part in array] == ([1, 220] if attribute == "ARRAY" else [220, 220])


def test_a_dataset_is_taken_as_it_is():
    dataset = load("mymodule:WHOLE")
    assert (dataset.name, dataset.scale, dataset.offset, dataset.classes) == ("mine", 2, 1, ("a", "b"))


@pytest.mark.parametrize("attribute", ["Pairs", "inner.TENSORS"])
def test_items_and_their_labels(attribute):
    calls = []
    dataset = load(f"mymodule:{attribute}", progress=lambda *done: calls.append(done))
    assert dataset.shape == (1, 4, 4)
    assert dataset.stored[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.classes == ("5", "6", "7")
    assert calls == [(number, 6) for number in range(1, 7)]


def test_items_without_labels():
    dataset = load("mymodule:PLAIN")
    assert dataset.stored.tolist() == [[1, 2], [3, 4]]
    assert dataset.labels is None


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("mymodulo:X", ValueError, "module mymodulo is neither in .*some data nor installed"),
        ("mymodule.x:X", ValueError, "module mymodule.x is neither in"),
        ("mymodule:TENSR", ValueError, "no attribute 'TENSR'"),
        ("mymodule:", ValueError, "expected module:attribute"),
        (":TENSOR", ValueError, "expected module:attribute"),
        ("mymodule:NUMBER", TypeError, "NUMBER is a int; expected a Dataset, a Tensor"),
        ("mymodule:EMPTY", ValueError, "no items; expected two or more"),
        ("mymodule:MIXED", ValueError, r"item 0 has shape \(2, 3\) and item 1 \(2, 4\); expected one shape"),
        ("mymodule:WORDS", TypeError, "holds a str as item 0; expected tensors or arrays"),
        ("mymodule:MAPPING", TypeError, "MAPPING is a dict; expected"),
        ("mymodule:HALF_LABELLED", ValueError, r"labels of type int64 and shape \(1,\)"),
        ("mymodule:BAD", ValueError, "BAD holds 6 NaN"),
        ("mymodule:inner.FLOATS", ValueError, "labels of type float64"),
        ("mymodule:needs_more", TypeError, "needs_more cannot be called without arguments"),
    ],
)
def test_refusals(data, error, message):
    with pytest.raises(error, match=message):
        load(data)


def test_faults_of_the_module_are_its_own():
    with pytest.raises(ModuleNotFoundError, match="no_such_package_anywhere"):
        load("needy:X")
    with pytest.raises(RuntimeError, match="the disk is gone"):
        load("mymodule:fails")
