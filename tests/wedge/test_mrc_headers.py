"""MRC files of volumes, written by other programs and by gpgan."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from gpgan.wedge.files import Volume, read_volume, write_volume

DATA = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)


@pytest.fixture
def mrc(tmp_path: Path) -> Path:
    """A file with a header that has everything."""
    path = tmp_path / "a.b c.mrc"
    with mrcfile.new(path) as file:
        file.set_data(DATA)
        file.voxel_size = 13.5
        file.header.origin.x, file.header.origin.y, file.header.origin.z = 1.5, -2.5, 100.0
        file.header.nxstart, file.header.nystart, file.header.nzstart = 3, -4, 5
        file.add_label("from a microscope")
    return path


def test_a_header_is_kept(mrc: Path):
    volume = read_volume(mrc)
    assert (volume.voxel, volume.origin, volume.start) == (13.5, (1.5, -2.5, 100.0), (3, -4, 5))
    assert volume.labels[0].startswith("Created by mrcfile")
    assert volume.labels[1].startswith("from a microscope")
    out = mrc.with_name("out.x.mrc")
    write_volume(out, volume.with_data(2 * volume.data, "restored"))
    again = read_volume(out)
    assert np.array_equal(again.data, 2 * DATA)
    assert (again.voxel, again.origin, again.start) == (volume.voxel, volume.origin, volume.start)
    assert again.labels == (*volume.labels, "restored")
    with mrcfile.open(out) as file:
        assert mrcfile.validate(out)
        header = file.header
        assert (header.dmin, header.dmax, header.dmean, header.rms) == pytest.approx(
            (2 * DATA.min(), 2 * DATA.max(), 2 * DATA.mean(), 2 * DATA.std()), rel=1e-5
        )
        assert file.voxel_size.tolist() == (13.5, 13.5, 13.5)
        assert file.is_volume()


def test_more_than_ten_labels_keep_the_last(tmp_path: Path):
    write_volume(tmp_path / "a.mrc", Volume(DATA, 1.0, labels=tuple(f"label {number} é" for number in range(12))))
    assert read_volume(tmp_path / "a.mrc").labels == tuple(f"label {number} ?" for number in range(2, 12))


@pytest.mark.parametrize("mode", [np.int8, np.int16, np.uint16, np.float16])
def test_other_modes_are_read(tmp_path: Path, mode: type):
    values = np.arange(64).reshape(4, 4, 4).astype(mode)
    with mrcfile.new(tmp_path / "a.mrc", values) as file:
        file.set_volume()
        file.voxel_size = 2.0
    assert np.array_equal(read_volume(tmp_path / "a.mrc").data, values.astype(np.float32))


def test_big_endian_extended_and_gzipped_files_are_read(tmp_path: Path):
    """As programs on other machines and microscopes write them."""
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(DATA)
        file.voxel_size = 7.0
        file.set_extended_header(np.zeros(128, np.uint8))
    for name in ("big", "plain"):
        raw = (tmp_path / "a.mrc").read_bytes()
        header, extended, values = raw[:1024], raw[1024:1152], raw[1152:]
        if name == "big":
            swapped = np.frombuffer(header, mrcfile.dtypes.HEADER_DTYPE).byteswap().tobytes()
            stamp = swapped[:212] + b"\x11\x11\x00\x00" + swapped[216:]
            raw = stamp + extended + np.frombuffer(values, np.float32).byteswap().tobytes()
        packed = tmp_path / f"{name}.mrc"
        packed.write_bytes(gzip.compress(raw) if name == "plain" else raw)
        found = read_volume(packed)
        assert np.array_equal(found.data, DATA)
        assert found.voxel == 7.0


def with_voxel(path: Path, sizes: tuple[float, float, float]) -> Path:
    with mrcfile.open(path, "r+") as file:
        file.voxel_size = sizes
    return path


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((0, 0, 0), r"has the voxel size 0 x 0 x 0 angstroms in its header; expected sizes above 0: pass --voxel"),
        ((2, 2, 3), r"has unequal voxels, 2 x 2 x 3 angstroms; expected cubes"),
        ((-1, -1, -1), r"has the voxel size -1 x -1 x -1"),
    ],
)
def test_a_voxel_size_is_never_guessed(mrc: Path, sizes: tuple[float, float, float], expected: str):
    with pytest.raises(ValueError, match=expected):
        read_volume(with_voxel(mrc, sizes))
    assert read_volume(mrc, voxel=4.5).voxel == 4.5


def test_bad_files_are_refused(mrc: Path, tmp_path: Path):
    short = tmp_path / "short.mrc"
    short.write_bytes(mrc.read_bytes()[:-100])
    with pytest.raises(ValueError, match="it ends before"):
        read_volume(short)
    with pytest.raises(ValueError, match="does not exist"):
        read_volume(tmp_path / "none.mrc")
    (tmp_path / "text.mrc").write_text("not a volume" * 200)
    with pytest.raises(ValueError, match=r"text.mrc"):
        read_volume(tmp_path / "text.mrc")
    for name, values, expected in (
        ("nan", np.where(DATA > 0, np.nan, DATA), "NaN or infinite values; expected finite ones"),
        ("flat", np.zeros((4, 4, 4)), "has only the value 0; expected a volume whose voxels differ"),
        ("image", DATA[0], r"holds an array of shape \(6, 8\)"),
    ):
        with mrcfile.new(tmp_path / f"{name}.mrc", np.asarray(values, np.float32)) as file:
            file.voxel_size = 1.0
        with pytest.raises(ValueError, match=expected):
            read_volume(tmp_path / f"{name}.mrc")


def test_nothing_is_left_half_written(tmp_path: Path, mrc: Path, monkeypatch: pytest.MonkeyPatch):
    before = mrc.read_bytes()
    with pytest.raises(ValueError, match="NaN or infinite"):
        write_volume(mrc, Volume(np.full((2, 2, 2), np.nan), 1.0))

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mrcfile.mrcfile.MrcFile, "set_data", full)
    with pytest.raises(OSError, match="No space left"):
        write_volume(mrc, Volume(DATA, 1.0))
    assert mrc.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [mrc.name]


def test_the_header_of_a_stack_of_one_volume_is_that_of_a_volume(tmp_path: Path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(DATA[None])
        file.voxel_size = 3.0
    assert read_volume(tmp_path / "a.mrc").data.shape == DATA.shape
    assert struct.unpack("<3i", (tmp_path / "a.mrc").read_bytes()[:12]) == (8, 6, 4)
