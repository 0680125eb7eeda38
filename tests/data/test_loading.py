"""The choice of the loader, and reading and refusing .npy, .npz and IDX files."""

import gzip
import pickle
import struct

import numpy as np
import pytest
import torch

from gpgan.data import dataset as dataset_module
from gpgan.data import load, numpy_files, split
from gpgan.data.idx import read_idx
from gpgan.data.kinds import KINDS, kind_of
from gpgan.data.loading import names_code


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 5), (5,)),
        ((6, 8, 9), (1, 8, 9)),
        ((6, 3, 8, 9), (3, 8, 9)),
        ((6, 16, 8, 9), (16, 8, 9)),
        ((6, 17, 8, 9), (1, 17, 8, 9)),
        ((6, 2, 5, 8, 9), (2, 5, 8, 9)),
    ],
    ids=str,
)
def test_npy_shapes(save, shape, expected):
    array = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    dataset = load(save(array, "mine.npy"))
    assert dataset.shape == expected
    assert dataset.name == "mine"
    assert (dataset.scale, dataset.offset, dataset.labels) == (1, 0, None)
    assert np.array_equal(dataset.samples().numpy().reshape(shape), array)


@pytest.mark.parametrize(
    ("array", "low", "high"),
    [
        (np.array([[10], [200]], np.uint8), 0, 255),
        (np.array([[10], [200]], np.int64), 10, 200),
        (np.array([[0.0], [4.0]]), 0, 4),
        (np.array([[-0.5], [0.25]], np.float16), -1, 1),
        (np.array([[0.0], [0.75]], np.float32), 0, 1),
        (np.array([[0], [1]], np.uint8), 0, 1),
        (np.array([[7], [60_000]], np.uint16), 7, 60_000),
        (np.array([[1_000_000_000], [3_000_000_000]], np.uint32), 1_000_000_000, 3_000_000_000),
        (np.array([[7], [-300]], ">i2"), -300, 7),
        (np.array([[1.5], [3]], np.longdouble), 1.5, 3),
    ],
    ids=["bytes", "integers", "floats", "halves", "unit", "mask", "uint16", "uint32", "big-endian", "longdouble"],
)
def test_npy_scaling(save, array, low, high):
    dataset = load(save(array))
    wanted = (array.astype(float) - low) / (high - low) * 2 - 1
    assert dataset.samples().numpy() == pytest.approx(wanted, abs=1e-6)
    assert dataset.samples().numpy() * dataset.scale + dataset.offset == pytest.approx(array.astype(float))
    assert dataset.stored.double().numpy() == pytest.approx(array.astype(float))


def test_npy_big_integers_keep_their_differences(save):
    dataset = load(save(np.array([[2**40], [2**40 + 1], [2**40 + 2]])))
    assert dataset.samples().flatten().tolist() == [-1, 0, 1]


def test_names_fit_a_folder(save, tmp_path):
    (tmp_path / "mêlée of photos").mkdir()
    assert load(save(np.eye(3), "my data (2).npy")).name == "my-data-2"
    assert load(save(np.eye(3), "mêlée of photos/größe 日本.npy")).name == "größe-日本"


BAD = {
    "one sample": (np.zeros((1, 4)), "one sample; expected two or more"),
    "one axis": (np.zeros(4), r"shape \(4,\); expected points"),
    "six axes": (np.zeros((2, 1, 3, 3, 3, 3)), "expected points"),
    "no values": (np.zeros((0, 4)), "has no values"),
    "channels last": (np.zeros((2, 32, 32, 3)), r"3 channels last.*transpose\(0, 3, 1, 2\)"),
    "volumes with channels last": (np.zeros((2, 20, 20, 20, 1)), r"transpose\(0, 4, 1, 2, 3\)"),
    "many channels": (np.zeros((2, 17, 5, 5, 5)), "17 channels; expected .* at most 16"),
    "NaN": (np.array([[1.0], [np.nan]]), "1 NaN or infinite"),
    "infinity": (np.array([[1.0], [np.inf]]), "1 NaN or infinite"),
    "constant": (np.full((3, 2), 7), "only the value 7"),
    "blank pixels": (np.zeros((3, 8, 8), np.uint8), "only the value 0"),
    "text": (np.array([["a"], ["b"]]), "expected floats or integers"),
    "complex": (np.array([[1j], [2]]), "expected floats or integers"),
    "booleans": (np.array([[True], [False]]), "expected floats or integers"),
    "range beyond floats": (np.array([["1e4000"], ["0"]]).astype(np.longdouble), "cannot be scaled"),
}


@pytest.mark.parametrize("case", BAD)
def test_npy_refuses(save, case):
    array, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        load(save(array))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"no array at all", "cannot be read"), (b"\x93NUMPY\x01\x00", "cannot be read")],
    ids=["empty", "text", "truncated"],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_numpy_refuses_other_files(tmp_path, content, message, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / f"a{suffix}"))


def test_what_is_pickled_is_never_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    objects = np.array([Trap(), Trap()], dtype=object)
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "objects.npz", objects, allow_pickle=True)
    np.savez(tmp_path / "labels.npz", x=np.eye(2), y=objects, allow_pickle=True)
    for name in ("plain.npy", "plain.npz", "plain.mrc", "plain-ubyte", "photos/plain.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    (tmp_path / "gzipped.idx.gz").write_bytes(gzip.compress(pickle.dumps(Trap())))
    for path in [file for file in tmp_path.iterdir() if file.name != "sprung"]:
        with pytest.raises(ValueError, match="expected"):
            load(str(path))
    assert not (tmp_path / "sprung").exists()
    # The payload does run if pickles are executed.
    np.load(tmp_path / "objects.npy", allow_pickle=True)
    assert (tmp_path / "sprung").exists()


def test_npy_of_samples_of_mixed_sizes(tmp_path):
    mixed = np.empty(2, dtype=object)
    mixed[:] = [np.zeros((3, 3)), np.zeros((4, 4))]
    np.save(tmp_path / "mixed.npy", mixed, allow_pickle=True)
    with pytest.raises(ValueError, match=r"mixed.npy cannot be read \(Object arrays"):
        load(str(tmp_path / "mixed.npy"))


def test_npy_refuses_archives(tmp_path):
    np.savez(tmp_path / "a.npz", np.eye(2))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.eye(2))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    for name, message in (("a.npy", "rename it to .npz"), ("b.npz", "it is a .npy file")):
        with pytest.raises(ValueError, match=message):
            load(str(tmp_path / name))


def test_large_npy_is_mapped_and_checked_by_blocks(save, tmp_path, monkeypatch):
    array = np.random.default_rng(0).integers(0, 256, (300, 4, 4), np.uint8)
    path = save(array)
    monkeypatch.setattr(numpy_files, "MAPPED_BYTES", 1000)
    monkeypatch.setattr(dataset_module, "BLOCK_BYTES", 100)
    monkeypatch.setattr("gpgan.data.arrays.BLOCK_BYTES", 100)
    dataset = load(path)
    assert dataset.stored.dtype == torch.uint8
    assert np.array_equal(dataset.stored.numpy()[:, 0], array)
    fingerprint = dataset.fingerprint()

    def maps():
        with open("/proc/self/maps") as file:
            return path in file.read()

    parts = split(dataset)
    assert maps()
    assert parts.fingerprint() == fingerprint
    # Writing to the array in memory does not change the file.
    dataset.stored[0] = 7
    assert np.array_equal(np.load(path), array)
    del dataset, parts
    monkeypatch.undo()
    whole = load(path)
    assert not maps()
    assert whole.fingerprint() == fingerprint
    # A bad value in the last block is found; a file shorter than its header says is refused.
    monkeypatch.setattr(numpy_files, "MAPPED_BYTES", 100)
    monkeypatch.setattr("gpgan.data.arrays.BLOCK_BYTES", 100)
    floats = array.astype(np.float32)
    floats[299, 3, 3] = np.nan
    with pytest.raises(ValueError, match="holds 1 NaN"):
        load(save(floats, "nan.npy"))
    short = tmp_path / "short.npy"
    short.write_bytes((tmp_path / "a.npy").read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"short.npy cannot be read"):
        load(str(short))


X = np.random.default_rng(0).integers(0, 256, (6, 5, 5), np.uint8)


@pytest.mark.parametrize("name", ["arr_0", "x", "images", "samples", "data", "X", "anything"])
def test_npz_of_one_array(tmp_path, name):
    np.savez_compressed(tmp_path / "a.npz", **{name: X})
    dataset = load(str(tmp_path / "a.npz"))
    assert np.array_equal(dataset.stored.numpy()[:, 0], X)
    assert (dataset.labels, dataset.classes) == (None, ())


@pytest.mark.parametrize("name", ["labels", "y"])
@pytest.mark.parametrize(
    ("answers", "labels", "classes"),
    [
        ([3, 3, 7, -1, 7, 3], [1, 1, 2, 0, 2, 1], ("-1", "3", "7")),
        (["cat", "cat", "dog", "ant", "dog", "cat"], [1, 1, 2, 0, 2, 1], ("ant", "cat", "dog")),
        ([[0], [1], [1], [0], [1], [0]], [0, 1, 1, 0, 1, 0], ("0", "1")),
        ([5] * 6, None, ()),
    ],
    ids=["integers", "words", "a column", "one class"],
)
def test_npz_with_labels(tmp_path, name, answers, labels, classes):
    np.savez(tmp_path / "a.npz", **{"samples": X, "weights": X, name: np.array(answers)})
    dataset = load(str(tmp_path / "a.npz"))
    assert (None if dataset.labels is None else dataset.labels.tolist()) == labels
    assert dataset.classes == classes
    assert np.array_equal(dataset.stored.numpy()[:, 0], X)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X, "b": X}, "the arrays a, b; expected one array, or one of them named x, images"),
        ({"x": X, "images": X}, "the arrays x, images; expected one array"),
        ({"x": X, "y": np.arange(6), "labels": np.arange(6)}, "at most one named labels or y"),
        ({}, "the arrays none"),
        ({"y": np.arange(6)}, "the arrays y"),
        ({"x": X, "y": np.arange(5)}, r"labels of type int64 and shape \(5,\); expected .* one per sample: \(6,\)"),
        ({"x": X, "y": np.linspace(0, 1, 6)}, "labels of type float64"),
        ({"x": X, "y": np.zeros((6, 2), int)}, r"shape \(6, 2\)"),
        ({"x": X[:1]}, "one sample"),
    ],
    ids=["two", "two names", "two labels", "none", "labels alone", "length", "floats", "one-hot", "one sample"],
)
def test_npz_refuses(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "a.npz"))


def idx(code, dtype, array):
    array = np.asarray(array)
    return (
        bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(dtype).tobytes()
    )


@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_idx(tmp_path, code, dtype, packed):
    array = np.random.default_rng(0).integers(0, 128, (5, 4, 3))
    content = idx(code, dtype, array)
    path = tmp_path / f"mine-idx3-ubyte{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    dataset = load(str(path))
    assert dataset.name == "mine-idx3-ubyte"
    assert np.array_equal(dataset.stored.numpy()[:, 0], array)
    own = read_idx(path)
    assert own.dtype.isnative
    assert own.flags.writeable
    assert dataset.stored.dtype == torch.from_numpy(np.zeros(1, np.dtype(dtype).newbyteorder("="))).dtype


def test_idx_finds_its_labels(tmp_path):
    (tmp_path / "some-images-idx3-ubyte").write_bytes(idx(8, "u1", X))
    (tmp_path / "some-labels-idx1-ubyte").write_bytes(idx(8, "u1", [2, 0, 2, 2, 0, 5]))
    dataset = load(str(tmp_path / "some-images-idx3-ubyte"))
    assert dataset.labels.tolist() == [1, 0, 1, 1, 0, 2]
    assert dataset.classes == ("0", "2", "5")
    (tmp_path / "some-labels-idx1-ubyte").write_bytes(idx(8, "u1", [2, 0, 2, 2, 0]))
    with pytest.raises(ValueError, match=r"labels of type uint8 and shape \(5,\)"):
        load(str(tmp_path / "some-images-idx3-ubyte"))


GOOD = idx(8, "u1", X)
IDX_FAULTS = {
    "empty": (b"", "is empty"),
    "text": (b"hello, world", "begins with b'hell'; expected an IDX file"),
    "unknown type": (b"\0\0\x0a" + GOOD[3:], "two zero bytes, a type of 0x08"),
    "header cut": (GOOD[:10], "begins with"),
    "too few values": (GOOD[:-1], r"149 bytes of values; expected 150, as its header gives shape \(6, 5, 5\)"),
    "too many values": (GOOD + b"\0", "151 bytes of values"),
    "no axes": (idx(8, "u1", 3), "expected points"),
    "one axis": (idx(8, "u1", [1, 2, 3]), "expected points"),
}


@pytest.mark.parametrize("case", IDX_FAULTS)
def test_idx_refuses(tmp_path, case):
    content, message = IDX_FAULTS[case]
    (tmp_path / "a.idx").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "a.idx"))


def test_idx_refuses_damaged_gzip(tmp_path):
    packed = gzip.compress(GOOD)
    flipped = bytearray(packed)
    flipped[40] ^= 255
    for content in (packed[:-20], packed[:5], bytes(flipped), GOOD):
        (tmp_path / "a-idx3-ubyte.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"a-idx3-ubyte.gz cannot be read .* download the file again"):
            load(str(tmp_path / "a-idx3-ubyte.gz"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("digit", r"data is 'digit'; expected digits, ring, grid, .* or module:attribute; did you mean digits\?$"),
        ("swiss", r"did you mean swissroll\?$"),
        ("photographs", "or module:attribute$"),
        ("", "or module:attribute$"),
        ("none.npy", "none.npy does not exist; expected"),
        ("none.npz", "none.npz does not exist"),
        ("none.mrc", "none.mrc does not exist"),
        ("none-idx3-ubyte.gz", "none-idx3-ubyte.gz does not exist"),
        ("none/photos", "none/photos does not exist; expected"),
        ("./photos", "photos does not exist; expected"),
        ("photos.zip", "photos.zip does not exist; expected"),
    ],
)
def test_what_there_is_not(data, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(data)


def test_a_file_of_an_unknown_kind(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"notes.txt', a file of an unknown format; expected digits"):
        load(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("data", ["digits", "a.npy"])
def test_size_where_there_is_none_to_choose(save, data, monkeypatch, tmp_path):
    save(np.eye(3))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"only folders of images and .mrc volumes"):
        load(data, size=16)
    with pytest.raises(ValueError, match="size is 0; expected 1 or more"):
        load(data, size=0)


def test_a_name_goes_before_a_path(save, monkeypatch, tmp_path):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(load("digits")) == 1797
    with pytest.raises(ValueError, match="digits holds 0 files and no image"):
        load("./digits")


@pytest.mark.parametrize(("shape", "stored", "kind"), [
    ((9, 5), (9, 5), "points"),
    ((9, 1, 64), (9, 1, 64), "signals"),
    ((9, 2, 16), (9, 2, 16), "signals"),
    ((9, 2, 15), (9, 1, 2, 15), "images"),
    ((9, 16, 128), (9, 16, 128), "signals"),
    ((9, 17, 200), (9, 1, 17, 200), "images"),
    ((9, 8, 8), (9, 1, 8, 8), "images"),
    ((9, 3, 8, 8), (9, 3, 8, 8), "images"),
    ((9, 17, 8, 8), (9, 1, 17, 8, 8), "volumes"),
    ((9, 2, 8, 8, 8), (9, 2, 8, 8, 8), "volumes"),
])  # fmt: skip
def test_kinds_of_arrays(tmp_path, shape, stored, kind):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random(shape))
    dataset = load(str(tmp_path / "a.npy"))
    assert (dataset.stored.shape, dataset.kind.name) == (stored, kind)


def test_every_kind_is_told_by_its_number_of_axes():
    assert len({len(kind.axes) for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert kind_of((4,) * len(kind.axes)) is kind
    with pytest.raises(ValueError, match=r"shape \(1, 1, 1, 1, 1\); expected one of points \[D\], signals"):
        kind_of((1, 1, 1, 1, 1))


@pytest.mark.parametrize("data", ["module:attribute", "a.b:c.d", "none/x:y"])
def test_what_is_imported_is_known_before(data):
    assert names_code(data)


@pytest.mark.parametrize("data", ["digits", "a:b.npy", "a:b.NPZ", "x:y.mrc", "a:b.idx", "there:it", "no_colon", ""])
def test_what_is_not_imported_is_known_too(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there:it").mkdir()
    assert not names_code(data)
