"""Every loader: what it gives, and how it refuses."""

import pickle

import numpy as np
import pytest
import torch

from gpgan.data import load
from gpgan.data.ring import DEVIATION, centres


def save(path, array):
    np.save(path, array)
    return str(path)


def test_digits():
    digits = load("digits")
    assert digits.samples.shape == (1797, 1, 8, 8)
    assert digits.samples.dtype == torch.float32
    assert (digits.samples.min(), digits.samples.max()) == (-1, 1)
    original = digits.samples * digits.scale + digits.offset
    assert torch.equal(original.unique(), torch.arange(17.0))
    # The upper rows of the first image, a zero, as the set's documentation shows it.
    assert original[0, 0, :2].tolist() == [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]


def test_ring():
    ring = load("ring")
    assert ring.samples.shape == (100_000, 2)
    distances, nearest = torch.cdist(ring.samples, centres()).min(1)
    counts = nearest.bincount(minlength=8)
    # 12500 a mode, with a standard deviation of 105.
    assert (counts - 12_500).abs().max() < 600
    # In the plane the mean square of the distance is twice the variance.
    assert distances.square().mean().item() == pytest.approx(2 * DEVIATION**2, rel=0.02)
    assert torch.equal(ring.samples, load("ring").samples)


@pytest.mark.parametrize(("shape", "wanted"), [((6, 5), (5,)), ((6, 8, 9), (1, 8, 9)), ((6, 3, 8, 9), (3, 8, 9))])
def test_npy_shapes(tmp_path, shape, wanted):
    array = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    dataset = load(save(tmp_path / "mine.npy", array))
    assert dataset.shape == wanted
    assert dataset.name == "mine"
    assert (dataset.scale, dataset.offset) == (1, 0)
    assert np.array_equal(dataset.samples.numpy().reshape(shape), array)


@pytest.mark.parametrize(
    ("array", "low", "high"),
    [
        (np.array([[10], [200]], np.uint8), 0, 255),
        (np.array([[10], [200]], np.int64), 10, 200),
        (np.array([[0.0], [4.0]]), 0, 4),
        (np.array([[-0.5], [0.25]], np.float16), -1, 1),
        (np.array([[0.0], [0.75]], np.float32), 0, 1),
        (np.array([[0], [1]], np.uint8), 0, 1),
    ],
    ids=["bytes", "integers", "floats", "floats around zero", "floats from zero", "a mask"],
)
def test_npy_scaling(tmp_path, array, low, high):
    dataset = load(save(tmp_path / "a.npy", array))
    wanted = (array.astype(float) - low) / (high - low) * 2 - 1
    assert dataset.samples.numpy() == pytest.approx(wanted)
    assert dataset.samples.numpy() * dataset.scale + dataset.offset == pytest.approx(array.astype(float))


def test_npy_big_integers_keep_their_differences(tmp_path):
    dataset = load(save(tmp_path / "a.npy", np.array([[2**40], [2**40 + 1], [2**40 + 2]])))
    assert dataset.samples.flatten().tolist() == [-1, 0, 1]


def test_npy_name_fits_a_folder(tmp_path):
    assert load(save(tmp_path / "my data (2).npy", np.eye(3))).name == "my-data-2"


BAD = {
    "one sample": (np.zeros((1, 4)), "one sample; wanted two or more"),
    "one axis": (np.zeros(4), r"shape \(4,\); wanted vectors"),
    "five axes": (np.zeros((2, 1, 3, 3, 3)), "wanted vectors"),
    "no values": (np.zeros((0, 4)), "has no values"),
    "channels last": (np.zeros((2, 32, 32, 3)), r"32 channels.*transpose\(0, 3, 1, 2\)"),
    "NaN": (np.array([[1.0], [np.nan]]), "1 NaN or infinite"),
    "infinity": (np.array([[1.0], [np.inf]]), "1 NaN or infinite"),
    "constant": (np.full((3, 2), 7), "only the value 7"),
    "text": (np.array([["a"], ["b"]]), "wanted floats or integers"),
    "complex": (np.array([[1j], [2]]), "wanted floats or integers"),
}


@pytest.mark.parametrize("case", BAD)
def test_npy_refuses(tmp_path, case):
    array, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        load(save(tmp_path / "a.npy", array))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"no array at all", "cannot be read"), (b"\x93NUMPY\x01\x00", "cannot be read")],
    ids=["empty", "text", "truncated"],
)
def test_npy_refuses_other_files(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "a.npy"))


def test_npy_never_executes_what_is_pickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    np.save(tmp_path / "objects.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("objects.npy", "plain.npy"):
        with pytest.raises(ValueError, match="cannot be read"):
            load(str(tmp_path / name))
    assert not (tmp_path / "sprung").exists()


def test_npy_refuses_archives_and_folders(tmp_path):
    np.savez(tmp_path / "a.npz", np.eye(2))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    (tmp_path / "folder.npy").mkdir()
    for name, message in (("a.npy", "is an archive"), ("folder.npy", "is a folder"), ("none.npy", "does not exist")):
        with pytest.raises(ValueError, match=message):
            load(str(tmp_path / name))


@pytest.mark.parametrize(("name", "hint"), [("digit", "; did you mean digits?"), ("photographs", "")])
def test_unknown_data(name, hint):
    with pytest.raises(ValueError, match=r"wanted digits, ring or the path of a .npy file") as error:
        load(name)
    assert str(error.value).endswith("file" + hint)
