"""Samples, labels and test sets among named arrays, in .npz files and from Python code."""

import sys
import zipfile

import numpy as np
import pytest
import torch

from gpgan.data import load, split

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 6, 6), np.uint8)
T = RNG.integers(0, 256, (12, 6, 6), np.uint8)
WORDS = np.arange(30) % 3
TEST_WORDS = np.arange(12) % 3


@pytest.fixture
def npz(tmp_path):
    def npz(**arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return load(str(tmp_path / "a.npz"))

    return npz


@pytest.mark.parametrize("name", ["label", "Label", "target", "targets", "Targets", "class", "classes", "y_train"])
def test_labels_by_their_usual_names(npz, name):
    dataset = npz(images=X, **{name: WORDS})
    assert dataset.labels.tolist() == WORDS.tolist()
    assert dataset.classes == ("0", "1", "2")
    assert np.array_equal(dataset.stored.numpy()[:, 0], X)
    # With labels of a usual name, the samples need none.
    assert torch.equal(npz(pictures=X, **{name: WORDS}).stored, dataset.stored)


def test_arrays_that_are_not_used_are_named(npz):
    dataset = npz(images=X, target=RNG.random(30), weights=np.ones(30))
    assert dataset.labels is None
    assert [line.split(":")[0] for line in dataset.skipped] == ["array target", "array weights"]
    named = npz(x=X, y=WORDS, classes=np.array(["cat", "dog", "ant"]))
    assert named.classes == ("0", "1", "2")
    assert [line.split(":")[0] for line in named.skipped] == ["array classes"]
    with pytest.raises(ValueError, match="labels named target and label; expected one of them"):
        npz(images=X, target=WORDS, label=WORDS)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X", "y", "X_val", "y_val"),
        ("xTrain", "yTrain", "xValidation", "yValidation"),
        ("data", "target", "testing-data", "testing-target"),
    ],
    ids=lambda names: names[2],
)
def test_test_sets_are_held_out(npz, names):
    dataset = npz(**dict(zip(names, (X, WORDS, T, TEST_WORDS), strict=True)))
    assert np.array_equal(dataset.stored.numpy()[:, 0], X)
    assert np.array_equal(dataset.held_out.numpy()[:, 0], T)
    assert (dataset.labels.tolist(), dataset.held_out_labels.tolist()) == (WORDS.tolist(), TEST_WORDS.tolist())
    assert dataset.skipped == ()
    assert split(dataset) is dataset


def test_validation_and_test_sets_are_both_held_out(npz):
    column = WORDS[:, None]
    arrays = {"train_images": X, "train_labels": column, "val_images": T, "val_labels": TEST_WORDS[:, None]}
    dataset = npz(**arrays, test_images=T[:5], test_labels=TEST_WORDS[:5, None])
    assert len(dataset.held_out) == 17
    assert dataset.held_out_labels.tolist() == [*TEST_WORDS, *TEST_WORDS[:5]]
    assert len(npz(train=X, test=T).held_out) == 12


def test_test_sets_that_do_not_fit(npz):
    # Samples without labels are of no use beside samples that have them.
    dataset = npz(x=X, y=WORDS, x_test=T)
    assert dataset.held_out is None
    assert dataset.skipped[0].startswith("array x_test: ")
    with pytest.raises(ValueError, match=r"of uint8 and shape \(6, 6\), and a test set with uint8 and \(5, 6\)"):
        npz(x=X, x_test=T[:, 1:])
    with pytest.raises(ValueError, match="12 NaN"):
        npz(x=X / 2, x_test=np.where(np.arange(36).reshape(6, 6) == 0, np.nan, T))
    with pytest.raises(ValueError, match="the arrays x_test, y_test; expected one array"):
        npz(x_test=T, y_test=TEST_WORDS)


def test_members_that_are_not_arrays(tmp_path, npz):
    path = tmp_path / "b.npz"
    for name, message in (("x", "holds x, which is not an array"), ("x.npy", "holds x, which is not an array")):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, "some text")
        with pytest.raises(ValueError, match=f"{path} {message}; expected a .npz file"):
            load(str(path))
    for array in (np.array(5.0), np.array(["a", "b"]), np.array([1j, 2])):
        with pytest.raises(ValueError, match="expected"):
            npz(x=array)
    with pytest.raises(ValueError, match=r"labels of type int64 and shape \(\)"):
        npz(x=X, y=np.array(3))


MODULE = """
import numpy as np
import torch
from torch.utils.data import TensorDataset

X = torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(30) % 3
PAIR = (X, Y)
LIST = [X, Y]
NUMPY = (X.numpy(), Y.numpy())
COLUMN = (X, Y[:, None])
WORDS = (X, ["ant", "bee", "cat"] * 10)
OBJECTS = (X, np.array(["ant", "bee", "cat"] * 10, dtype=object))
MAPPING = {"data": X, "target": Y, "DESCR": "text", "frame": None}
BOTH = ((X, Y), (X[:12], Y[:12]))
MAPPED = {"x_train": X, "y_train": Y, "x_test": X[:12], "y_test": Y[:12]}
class Table:
    def to_numpy(self):
        return X.numpy()
TABLE = (Table(), Y)

BARE = TensorDataset(X)
TWO = [X[0], X[1]]
TWO_LABELLED = [(X[0], torch.tensor([4])), (X[1], torch.tensor([3]))]

HOT = (X, torch.eye(3)[Y])
FLOATS = (X, torch.rand(30))
SHORT = (X, Y[:29])
THREE = TensorDataset(X, Y, Y)
PARTS = (X, X[:12])
RAGGED = [(X[0], 1), (X[1], [1, 2])]
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "pairs.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("pairs", None)


def test_pairs_and_dicts(module):
    bare = load("pairs:X").stored
    for name in ("PAIR", "LIST", "NUMPY", "COLUMN", "WORDS", "OBJECTS", "MAPPING", "BOTH", "MAPPED", "TABLE"):
        dataset = load(f"pairs:{name}")
        assert torch.equal(dataset.stored, bare)
        assert dataset.labels.tolist() == WORDS.tolist()
        assert (dataset.held_out is None) == (name not in ("BOTH", "MAPPED"))
    assert dataset.classes == ("0", "1", "2")
    assert load("pairs:WORDS").classes == load("pairs:OBJECTS").classes == ("ant", "bee", "cat")
    assert torch.equal(load("pairs:BOTH").held_out, bare[:12])
    assert load("pairs:BOTH").held_out_labels.tolist() == TEST_WORDS.tolist()


def test_sequences_of_items(module):
    assert torch.equal(load("pairs:BARE").stored, load("pairs:X").stored)
    assert len(load("pairs:TWO")) == 2
    assert load("pairs:TWO_LABELLED").labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("HOT", ValueError, r"shape \(30, 3\); expected .*\(30,\): labels.argmax\(1\), if they are one-hot"),
        ("FLOATS", ValueError, r"type float32 .*: labels.astype\(int\), or leave them out"),
        ("SHORT", ValueError, r"shape \(29,\); expected integers or words, one per sample: \(30,\)"),
        ("THREE", TypeError, "holds a tuple of 3 as item 0; expected tensors or arrays, or pairs of one and a label"),
        ("PARTS", ValueError, r"a training and a test set as \(\(X, y\), \(X_test, y_test\)\)"),
        ("RAGGED", ValueError, "pairs:RAGGED holds labels of mixed shapes"),
    ],
)
def test_pairs_that_are_refused(module, name, error, message):
    with pytest.raises(error, match=message):
        load(f"pairs:{name}")
