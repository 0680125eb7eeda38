"""Volumes in the MRC format of electron microscopy: Cheng et al., MRC2014, doi 10.1016/j.jsb.2015.04.002."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpgan.data.arrays import Array, dataset_of
from gpgan.data.dataset import Dataset
from gpgan.data.paths import (
    Progress,
    check_file,
    check_memory,
    files_under,
    name_of,
    part_note,
    skipped_line,
    test_folders,
)
from gpgan.data.star import read_star
from gpgan.util.errors import first_line
from gpgan.util.words import counted

CUBE = 32
# Bytes of a header, and of one value in each mode; two values of 4 bits share a byte.
HEADER = 1024
BYTES = {0: 1, 1: 2, 2: 4, 3: 4, 4: 8, 6: 2, 12: 2, 101: 0.5}
WANTED = "an MRC file with a volume, or a stack of volumes or images"
# Suffixes of MRC files, and of a list of such files.
MRC, STAR = (".mrc", ".mrcs", ".map"), ".star"
# Voxel sizes are quotients of float32 numbers in a header.
SAME_VOXEL = 1e-3


def load_mrc(path: Path, size: int | None = None, progress: Progress | None = None) -> Dataset:
    """Volumes ``[1, size, size, size]`` or stacks from an MRC file, a folder of them or a STAR file, read into memory.

    Files in test folders are held out: see ``test_folders``.

    A volume is cut into cubes that do not overlap, starting at its first voxel; the remainder at the far ends is
    dropped. A stack of volumes or of images is used as it is. The file's header says which one it is.

    Args:
        path: A file, or a folder; files in a folder that cannot be read are skipped.
        size: The cubes' side in voxels; None takes 32, or the shortest side of all volumes if that is less.
        progress: Called with (files done, files in all), for a folder.

    Raises:
        ValueError: A file cannot be read or holds a single image, sizes are mixed, or the values are not samples.
        ModuleNotFoundError: mrcfile is not installed.
    """
    if path.suffix.lower() == STAR and path.is_file():
        return _load_star(path, progress)
    suffixes = MRC
    names, tests = [""], list[str]()
    if path.is_dir():
        names, tests, _ = test_folders([name for name in files_under(path) if name.lower().endswith(suffixes)])
        names += tests
    skipped, found = [], []
    for number, name in enumerate(names, 1):
        try:
            found.append((path / name, *_read(path / name)))
        except ValueError as error:
            if not path.is_dir():
                raise
            skipped.append(skipped_line(name, first_line(error)))
        if progress and len(names) > 1:
            progress(number, len(names))
    if not found:
        raise ValueError(
            f"{path} holds {counted(len(names), 'MRC file')}, and none can be read (the first: {skipped[0]}); expected at least one"
        )

    shortest = min((min(data.shape) for _, data, whole in found if whole), default=CUBE)
    pieces: list[Array] = []
    held_out: list[Array] = []
    for file, data, whole in found:
        if size and not whole:
            raise ValueError(f"size is {size}, and {file} is a stack, which is not cut; expected no size")
        if size and size > min(data.shape):
            raise ValueError(
                f"size is {size}, and {file} is a volume of shape {data.shape}; expected at most {shortest}"
            )
        piece = _cubes(data, size or min(CUBE, shortest)) if whole else data[:, None]
        if pieces and piece.shape[1:] != pieces[0].shape[1:]:
            raise ValueError(
                f"{file} has samples of shape {piece.shape[1:]}, and {found[0][0]} {pieces[0].shape[1:]}; expected one "
                "shape"
            )
        (held_out if file.relative_to(path).as_posix() in tests else pieces).append(piece)
    if not pieces:
        raise ValueError(f"{path} holds only MRC files to hold out that can be read; expected some to train on")
    dataset = dataset_of(np.concatenate(pieces), f"{path} holds", name_of(path), held_out=held_out)
    return dataclasses.replace(dataset, skipped=tuple(skipped), notes=(*dataset.notes, *part_note(names, tests)))


def _load_star(path: Path, progress: Progress | None) -> Dataset:
    """The volumes that a STAR file lists, ``[1, D, H, W]``, or ``[2, D, H, W]`` if it lists their halves."""
    rows = read_star(path)
    found: list[Array] = []
    for number, files in enumerate(rows.files, 1):
        parts = [_read(file)[0] for file in files]
        for file, part in zip(files, parts, strict=True):
            first = found[0][0] if found else parts[0]
            if part.shape != first.shape:
                raise ValueError(
                    f"{file} has a volume of shape {part.shape}, and {rows.files[0][0]} {first.shape}; expected one shape"
                )
        found.append(np.stack(parts))
        if progress:
            progress(number, len(rows.files))
    if rows.halved and np.array_equal(found[0][0], found[0][1]):
        raise ValueError(f"{rows.files[0][1]} has the values of {rows.files[0][0]}; expected the other half")
    return dataset_of(np.stack(found), f"{path} lists", name_of(path))


def voxel_size(path: Path) -> float:
    """The voxel size in angstroms of MRC files, from their headers alone.

    Args:
        path: A file, a folder of such files, or a STAR file.

    Raises:
        ValueError: A header has no voxel size or unequal ones, two files differ, or a file cannot be read.
        ModuleNotFoundError: mrcfile, or for a STAR file gemmi, is not installed.
    """
    import mrcfile  # type: ignore[import-untyped,unused-ignore]

    first: tuple[Path, float] | None = None
    for file in volume_files(path):
        if not file.name.lower().removesuffix(".gz").endswith(MRC):
            raise ValueError(f"{file} is no MRC file, so that its voxel size is not known; expected --voxel")
        check_file(file, WANTED)
        check_header(file)
        with mrcfile.open(file, header_only=True) as opened:
            size = cubic(file, [float(opened.voxel_size[axis]) for axis in "xyz"])
        if first is not None and abs(size - first[1]) > SAME_VOXEL * first[1]:
            raise ValueError(
                f"{file} has voxels of {size:g} angstroms, and {first[0]} of {first[1]:g}; expected one size: resample them, or "
                "pass --voxel if the headers are wrong"
            )
        first = first or (file, size)
    if first is None:
        raise ValueError(f"{path} holds no MRC file; expected {WANTED}")
    return first[1]


def cubic(path: Path, sizes: Sequence[float]) -> float:
    """The side in angstroms of voxels (x, y, z) of a file's header.

    Raises:
        ValueError: They are not above 0, or unequal.
    """
    shown = " x ".join(f"{size:g}" for size in sizes)
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        raise ValueError(
            f"{path} has the voxel size {shown} angstroms in its header; expected sizes above 0: pass --voxel"
        )
    if max(sizes) - min(sizes) > SAME_VOXEL * max(sizes):
        raise ValueError(
            f"{path} has unequal voxels, {shown} angstroms; expected cubes: resample it, or pass --voxel if the header is wrong"
        )
    return sizes[0]


def volume_files(path: Path) -> list[Path]:
    """The files of volumes that a path stands for: itself, those in a folder, or those that a STAR file lists."""
    if path.suffix.lower() == STAR:
        return [file for row in read_star(path).files for file in row]
    if path.is_dir():
        return [path / name for name in files_under(path) if name.lower().endswith(MRC)]
    return [path]


def _read(path: Path) -> tuple[Array, bool]:
    """A file's values, and whether they are one volume rather than a stack."""
    import mrcfile  # type: ignore[import-untyped,unused-ignore]

    check_file(path, WANTED)
    check_header(path)
    try:
        with mrcfile.open(path) as file:
            data, volume = np.array(file.data), file.is_volume()
    except Exception as error:  # A damaged header can raise many errors.
        raise ValueError(f"{path} cannot be read ({first_line(error)}); expected {WANTED}") from error
    if data.ndim < 3:
        raise ValueError(f"{path} holds a single image of shape {data.shape}; expected {WANTED}")
    return data, volume


def check_header(path: Path) -> None:
    """Raises ValueError if a file is not as its header says, before memory is taken for what the header says."""
    with path.open("rb") as file:
        packed: Any = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}.get(file.read(2), open)
    try:
        with packed(path, "rb") as file:
            header = file.read(HEADER)
            if len(header) == HEADER:
                size = _size(path, header)
                file.seek(size - 1)
                is_whole = len(file.read(1)) == 1
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({first_line(error)}); expected {WANTED}") from error
    if len(header) < HEADER:
        raise ValueError(f"{path} cannot be read ({len(header)} bytes of a header of {HEADER}); expected {WANTED}")
    if not is_whole:
        raise ValueError(f"{path} cannot be read (it ends before the {size} bytes of its header); expected {WANTED}")


def _size(path: Path, header: bytes) -> int:
    """The bytes of a file, as its header says."""
    # The machine stamp: big-endian is 0x11 0x11.
    order = ">" if header[212:213] == b"\x11" else "<"
    *shape, mode = struct.unpack(f"{order}4i", header[:16])
    (more,) = struct.unpack(f"{order}i", header[92:96])
    if min(shape) < 1 or mode not in BYTES or more < 0:
        raise ValueError(
            f"{path} says that it has {' x '.join(map(str, shape))} values of mode {mode} and {more} bytes of an extended "
            f"header; expected sides of 1 or more, a mode of {', '.join(map(str, BYTES))}, and 0 or more bytes"
        )
    size: int = HEADER + more + math.ceil(math.prod(shape) * BYTES[mode])
    check_memory(size, f"{path} says that it has", "cut it into several files")
    return size


def _cubes(volume: Array, side: int) -> Array:
    """``[N, 1, side, side, side]`` from ``[D, H, W]``."""
    d, h, w = (length // side for length in volume.shape)
    cut = volume[: d * side, : h * side, : w * side].reshape(d, side, h, side, w, side)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, 1, side, side, side)
