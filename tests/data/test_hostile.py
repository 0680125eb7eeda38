"""Files that lie, never end, or change while they are in use: refused in a line, without waiting or taking memory."""

import gzip
import json
import os
import socket
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gpgan.data import cache, images, load, numpy_files, paths, split

RNG = np.random.default_rng(0)


def refused(path):
    with pytest.raises(ValueError, match="expected") as caught:
        load(str(path))
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    return message


def grey(side=32):
    return RNG.integers(0, 256, (side, side), np.uint8)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mrc", "a.idx", "a-idx3-ubyte.gz", "b"])
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_not_a_file_is_not_opened(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert "not a regular file" in refused(path) or name == "b"


def test_what_is_not_a_file_in_a_folder(picture, photos, tmp_path, monkeypatch):
    for name in ("1.png", "2.png"):
        picture(name, grey())
    os.mkfifo(f"{photos}/fifo.png")
    os.symlink("/dev/zero", f"{photos}/device.png")
    os.symlink("loop.png", f"{photos}/loop.png")
    os.mkdir(f"{photos}/folder.png")
    with socket.socket(socket.AF_UNIX) as made:
        monkeypatch.chdir(photos)
        made.bind("socket.png")
    dataset = load(photos)
    assert len(dataset) == 2
    lines = {line.split(":")[0]: line for line in dataset.skipped}
    assert sorted(lines) == ["device.png", "fifo.png", "loop.png", "socket.png"]
    assert all("not a regular file" in lines[name] for name in ("device.png", "fifo.png", "socket.png"))
    # With the cache, whose key is made of all files.
    monkeypatch.setattr(images, "MAPPED_BYTES", 1000)
    assert load(photos).fingerprint() == dataset.fingerprint()
    (tmp_path / "volumes").mkdir()
    os.mkfifo(tmp_path / "volumes" / "a.mrc")
    assert "not a regular file" in refused(tmp_path / "volumes")


def test_an_image_that_is_unpacked_to_much_more_is_left_out(picture, photos, monkeypatch):
    monkeypatch.setattr(images, "UNPACKED_BYTES", 100_000)
    for name in ("1.png", "2.png"):
        picture(name, grey(400))
    picture("bomb.png", np.zeros((1000, 1000, 3), np.uint8))
    (line,) = load(photos).skipped
    assert line.startswith("bomb.png: 1000 x 1000 pixels, 3 MiB, in a file of ")
    assert "expected at most 100 times the file's size: scale it down" in line


def npy(shape, descr="<f8"):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head + b"\n" + bytes(64)


@pytest.mark.parametrize("shape", ["(4611686018427387904, 4)", "(1000000000, 100000)", "(-3, 4)", "(3, 'a')", "(3, 4)"])
def test_numpy_headers_that_lie(tmp_path, shape):
    (tmp_path / "a.npy").write_bytes(npy(shape))
    assert "cannot be read" in refused(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", npy(shape))
    assert "cannot be read" in refused(tmp_path / "a.npz")


def test_what_does_not_fit_into_memory_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((3000, 1000)), y=np.zeros(3))
    (tmp_path / "a.idx").write_bytes(bytes([0, 0, 8, 2]) + struct.pack(">2I", 3000, 8000))
    monkeypatch.setattr(paths.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 5120}[name])
    monkeypatch.setattr(numpy_files.np.lib.npyio.NpzFile, "__getitem__", None)
    told = refused(tmp_path / "a.npz")
    assert "holds x with 22 MiB of values; expected at most 20 MiB, the memory: save it as .npy" in told
    assert "claims 22 MiB of values; expected at most 20 MiB" in refused(tmp_path / "a.idx")


def idx(shape, content):
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((2**32 - 1,) * 5, 10, "the memory"),
        ((2**20, 3), 10, "10 bytes of values; expected 3145728"),
        ((5, 6), 1 << 22, "at least 31 bytes of values; expected 30"),
        ((1,) * 100, 1, "100 axes; expected at most 5"),
        ((0, 3, 3), 0, "has no values"),
    ],
    ids=str,
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_idx_headers_that_lie(tmp_path, shape, size, message, packed):
    content = idx(shape, bytes(size))
    path = tmp_path / ("a.idx.gz" if packed else "a.idx")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert message in refused(path)


def mrc(shape=(64, 32, 32), mode=2, extended=0, content=bytes(64 * 32 * 32 * 4)):
    head = bytearray(1024)
    head[:40] = struct.pack("<10i", *shape, mode, 0, 0, 0, *shape)
    head[64:76] = struct.pack("<3i", 1, 2, 3)
    head[88:96] = struct.pack("<2i", 1, extended)
    head[208:216] = b"MAP \x44\x44\0\0"
    return bytes(head) + content


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"shape": (0, 32, 32)}, "0 x 32 x 32 values of mode 2"),
        ({"shape": (64, 32, 0)}, "64 x 32 x 0 values"),
        ({"shape": (-64, 32, 32)}, "-64 x 32 x 32 values"),
        ({"shape": (2**31 - 1,) * 3}, "the memory"),
        ({"shape": (64, 32, 33)}, "it ends before the 271360 bytes of its header"),
        ({"mode": -1}, "mode -1"),
        ({"mode": 7}, "mode 7"),
        ({"extended": 2**31 - 1}, "it ends before"),
        ({"extended": -1}, "-1 bytes of an extended header"),
        ({}, "only the value 0"),
    ],
    ids=str,
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_mrc_headers_that_lie(tmp_path, header, message, packed):
    path = tmp_path / "a.mrc"
    path.write_bytes(gzip.compress(mrc(**header), 1) if packed else mrc(**header))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert message in refused(path)


def test_damaged_packed_mrc(tmp_path):
    packed = bytearray(gzip.compress(mrc(content=RNG.bytes(64 * 32 * 32 * 4))))
    packed[2000:2100] = bytes(100)
    for name, content in (("flipped", packed), ("cut", packed[:5000]), ("none", packed[:2]), ("bzip", b"BZh9no")):
        path = tmp_path / f"{name}.mrc"
        path.write_bytes(content)
        assert "cannot be read" in refused(path)


def test_a_mapped_file_that_is_cut_while_in_use(save, tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "MAPPED_BYTES", 1000)
    path = save(RNG.integers(0, 256, (3000, 8, 8), np.uint8))
    dataset = load(path)
    parts = split(dataset)
    os.truncate(path, 5000)
    for each in (dataset, parts):
        # Reading it would end the process by SIGBUS.
        with pytest.raises(
            ValueError, match=r"a is now 5000 bytes long; expected 192128.*: it was overwritten while in"
        ):
            each.samples(torch.tensor([2600]))
    with pytest.raises(ValueError, match="is now 5000 bytes long"):
        dataset.fingerprint()
    # One that is replaced by another file, or removed, is still there.
    path = save(RNG.integers(0, 256, (3000, 8, 8), np.uint8), "b.npy")
    dataset = load(path)
    last = dataset.samples(torch.tensor([2999]))
    os.replace(save(np.eye(3), "c.npy"), path)
    os.remove(path)
    assert torch.equal(dataset.samples(torch.tensor([2999])), last)


@pytest.fixture
def mapped(monkeypatch, tmp_path):
    """All images are cached and memory-mapped, in a cache of this test's own."""
    monkeypatch.setattr(images, "MAPPED_BYTES", 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gpgan"


def fill(folder, count=3, types=np.uint8):
    """Images of the same names, sizes and times in every folder."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number}.{'bmp' if types is np.uint8 else 'tif'}"
        Image.fromarray(RNG.integers(0, 256, (32, 32)).astype(types)).save(path)
        os.utime(path, ns=(0, 0))
    return str(folder)


def test_the_cache_tells_folders_apart_whose_files_look_the_same(tmp_path, mapped, monkeypatch):
    one, other = fill(tmp_path / "one"), fill(tmp_path / "other")
    first, second = load(one), load(other)
    assert first.fingerprint() != second.fingerprint()
    assert len(list(mapped.glob("*.u8"))) == 2
    # Under the same name in another place, and by another name in the same.
    os.rename(one, tmp_path / "gone")
    os.rename(other, one)
    assert load(one).fingerprint() == second.fingerprint()
    monkeypatch.chdir(one)
    assert load(".").fingerprint() == second.fingerprint()
    # Changed in place, in bytes that are not looked at, with its time put back.
    path = tmp_path / "one" / "1.bmp"
    large = np.zeros((256, 256), np.uint8)
    large[::2] = 255
    for level in (0, 99):
        large[60] = level
        Image.fromarray(large).save(path)
        os.utime(path, ns=(0, 0))
        third = load(one, size=256)
        assert third.stored[1, 0, 60, 0] == level


def test_facts_of_the_cache_that_are_damaged(tmp_path, mapped):
    folder = fill(tmp_path / "photos")
    first = load(folder)
    (facts,) = mapped.glob("*.json")
    (rows,) = mapped.glob("*.u8")
    whole, pixels = json.loads(facts.read_text()), rows.read_bytes()
    damaged = [{name: value for name, value in whole.items() if name != missing} for missing in whole]
    damaged += [{**whole, "type": "object"}, {**whole, "shape": [-1]}, {**whole, "names": ["0.bmp"]}, [], 3, None]
    for content in [*map(json.dumps, damaged), "", "[" * 100_000, "\0"]:
        facts.write_text(content)
        assert load(folder).fingerprint() == first.fingerprint()
        assert json.loads(facts.read_text()) == whole
    # Of a right sum, but of other images or without what is needed.
    key = facts.stem
    for about in ({}, {**{name: [] for name in images.FACTS}, "grey": True}):
        with cache.writing(key, about) as kept:
            kept.append(np.zeros((1, 32, 32), np.uint8))
        assert load(folder).fingerprint() == first.fingerprint()
    for content in (pixels[:-1], b"", pixels[:50] + b"\1" + pixels[51:]):
        rows.write_bytes(content)
        assert load(folder).fingerprint() == first.fingerprint()
        assert rows.read_bytes() == pixels


def test_sixteen_bits_are_cached_as_they_are(tmp_path, mapped, monkeypatch):
    folder = fill(tmp_path / "photos", types=np.uint16)
    first, again = load(folder), load(folder)
    assert (again.stored.dtype, again.fingerprint()) == (torch.uint16, first.fingerprint())
    monkeypatch.undo()
    assert load(folder).fingerprint() == first.fingerprint()
    assert load(folder).mapped is None
