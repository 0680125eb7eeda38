"""Volumes in .mrc files."""

import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from gpgan.data import load

RNG = np.random.default_rng(0)


@pytest.fixture
def mrc(tmp_path):
    """Writes an array to an ``.mrc`` file and returns the file's path."""

    def mrc(name, array, stack=None):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(path, np.asarray(array), overwrite=True) as file:
            if stack == "images":
                file.set_image_stack()
            elif stack == "volumes":
                file.set_volume()
        return str(path)

    return mrc


def noise(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def test_a_volume_is_cut_into_cubes(mrc):
    volume = noise(70, 65, 64)
    dataset = load(mrc("a b.mrc", volume))
    assert dataset.stored.shape == (8, 1, 32, 32, 32)
    assert (dataset.name, dataset.labels) == ("a-b", None)
    corners = [(d, h, w) for d in (0, 32) for h in (0, 32) for w in (0, 32)]
    for number, (d, h, w) in enumerate(corners):
        assert np.array_equal(dataset.stored[number, 0].numpy(), volume[d : d + 32, h : h + 32, w : w + 32])
    assert (dataset.samples().min(), dataset.samples().max()) == (-1, 1)
    original = dataset.samples() * dataset.scale + dataset.offset
    assert original.numpy() == pytest.approx(dataset.stored.numpy(), abs=1e-5)


def test_the_cubes_size(mrc):
    volume = noise(20, 40, 41)
    # No cube is larger than the shortest side.
    assert load(mrc("a.mrc", volume)).stored.shape == (4, 1, 20, 20, 20)
    assert load(mrc("a.mrc", volume), size=10).stored.shape == (32, 1, 10, 10, 10)
    with pytest.raises(
        ValueError, match=r"size is 21, and .*a.mrc is a volume of shape \(20, 40, 41\); expected at most 20"
    ):
        load(mrc("a.mrc", volume), size=21)
    with pytest.raises(ValueError, match="one sample"):
        load(mrc("b.mrc", volume[:, :20, :20]))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16])
def test_types(mrc, dtype):
    stack = RNG.integers(0, 100, (3, 8, 8, 8)).astype(dtype)
    dataset = load(mrc("a.mrc", stack))
    assert np.array_equal(dataset.stored.numpy()[:, 0], stack)
    assert dataset.stored.numpy().dtype == dtype


def test_stacks_are_taken_as_they_are(mrc):
    volumes = noise(3, 8, 9, 10)
    dataset = load(mrc("volumes.mrc", volumes))
    assert np.array_equal(dataset.stored.numpy(), volumes[:, None])
    pictures = noise(40, 34, 33)
    dataset = load(mrc("images.mrcs", pictures, "images"))
    assert np.array_equal(dataset.stored.numpy(), pictures[:, None])
    with pytest.raises(ValueError, match=r"size is 4, and .*volumes.mrc is a stack"):
        load(mrc("volumes.mrc", volumes), size=4)


def test_a_folder(mrc, tmp_path):
    parts = {
        name: noise(*shape)
        for name, shape in (("b/2.mrc", (16, 16, 32)), ("a.mrc", (16, 17, 18)), ("c.map", (33, 16, 16)))
    }
    for name, part in parts.items():
        mrc(f"set/{name}", part)
    (tmp_path / "set" / "bad.mrc").write_bytes(b"no volume")
    (tmp_path / "set" / "cut.mrc").write_bytes((tmp_path / "set" / "a.mrc").read_bytes()[:-500])
    (tmp_path / "set" / "notes.txt").touch()
    calls = []
    dataset = load(str(tmp_path / "set"), progress=lambda *done: calls.append(done))
    assert dataset.stored.shape == (5, 1, 16, 16, 16)
    assert np.array_equal(dataset.stored[0, 0].numpy(), parts["a.mrc"][:16, :16, :16])
    assert np.array_equal(dataset.stored[2, 0].numpy(), parts["b/2.mrc"][:, :, 16:])
    assert np.array_equal(dataset.stored[4, 0].numpy(), parts["c.map"][16:32])
    assert [line.split(":")[0] for line in dataset.skipped] == ["bad.mrc", "cut.mrc"]
    assert calls == [(number, 5) for number in range(1, 6)]


def test_test_folders_are_held_out(mrc, tmp_path):
    parts = {f"{part}/{number}.mrc": noise(2, 8, 8, 8) for part in ("train", "val", "test") for number in range(2)}
    for name, part in parts.items():
        mrc(f"set/{name}", part)
    dataset = load(str(tmp_path / "set"))
    trained, held_out = (
        np.concatenate([parts[f"{part}/{number}.mrc"] for part in names for number in range(2)])
        for names in (["train"], ["test", "val"])
    )
    assert np.array_equal(dataset.stored[:, 0].numpy(), trained)
    assert np.array_equal(dataset.held_out[:, 0].numpy(), held_out)
    for number in range(2):
        (tmp_path / "set" / "train" / f"{number}.mrc").write_bytes(b"no volume")
    with pytest.raises(ValueError, match="only MRC files to hold out that can be read; expected some to train on"):
        load(str(tmp_path / "set"))


def test_refusals(mrc, tmp_path):
    with pytest.raises(ValueError, match=r"flat.mrc holds a single image of shape"):
        load(mrc("flat.mrc", noise(40, 40)))
    stack = noise(3, 8, 8, 8)
    stack[1, 2, 3, 4] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = mrc("nan.mrc", stack)
        with pytest.raises(ValueError, match="holds 1 NaN"):
            load(path)
    with pytest.raises(ValueError, match="only the value"):
        load(mrc("blank.mrc", np.ones((64, 32, 32), np.float32)))
    with pytest.raises(ValueError, match="complex64 values"):
        load(mrc("waves.mrc", noise(3, 8, 8, 8).astype(np.complex64)))
    for name, content, message in (
        ("cut.mrc", 900, "cannot be read"),
        ("empty.mrc", 0, "is empty"),
        ("half.mrc", 3000, "cannot be read"),
    ):
        whole = Path(mrc("whole.mrc", noise(3, 8, 8, 8))).read_bytes()
        (tmp_path / name).write_bytes(whole[:content])
        with pytest.raises(ValueError, match=message):
            load(str(tmp_path / name))
    mrc("mixed/a.mrc", noise(3, 8, 8, 8))
    mrc("mixed/b.mrc", noise(3, 8, 8, 9))
    with pytest.raises(
        ValueError, match=r"b.mrc has samples of shape \(1, 8, 8, 9\), and .*a.mrc \(1, 8, 8, 8\); expected one"
    ):
        load(str(tmp_path / "mixed"))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.mrc").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"holds 1 MRC file, and none can be read \(the first: a.mrc: "):
        load(str(tmp_path / "none"))
