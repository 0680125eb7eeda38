"""Volumes in the MRC format of electron microscopy: Cheng et al., MRC2014, doi 10.1016/j.jsb.2015.04.002."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from gpgan.data.arrays import Array, dataset_of
from gpgan.data.dataset import Dataset
from gpgan.data.kinds import KINDS_BY_NAME
from gpgan.data.paths import Progress, check_file, files_under, name_of, skipped_line
from gpgan.util.errors import first_line

CUBE = 32
WANTED = "an MRC file with a volume, or a stack of volumes or images"


def load_mrc(path: Path, size: int | None = None, progress: Progress | None = None) -> Dataset:
    """Volumes ``[1, size, size, size]`` or stacks from an MRC file or a folder of them, read into memory.

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
    suffixes = KINDS_BY_NAME["volumes"].suffixes
    names = [name for name in files_under(path) if name.lower().endswith(suffixes)] if path.is_dir() else [""]
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
            f"{path} holds {len(names)} MRC files, and none can be read (the first: {skipped[0]}); expected at least one"
        )

    shortest = min((min(data.shape) for _, data, whole in found if whole), default=CUBE)
    pieces: list[Array] = []
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
        pieces.append(piece)
    dataset = dataset_of(np.concatenate(pieces), f"{path} holds", name_of(path))
    return dataclasses.replace(dataset, skipped=tuple(skipped))


def _read(path: Path) -> tuple[Array, bool]:
    """A file's values, and whether they are one volume rather than a stack."""
    import mrcfile  # type: ignore[import-untyped,unused-ignore]

    check_file(path, WANTED)
    try:
        with mrcfile.open(path) as file:
            data, volume = np.array(file.data), file.is_volume()
    except Exception as error:  # A damaged header can raise many errors.
        raise ValueError(f"{path} cannot be read ({first_line(error)}); expected {WANTED}") from error
    if data.ndim < 3:
        raise ValueError(f"{path} holds a single image of shape {data.shape}; expected {WANTED}")
    return data, volume


def _cubes(volume: Array, side: int) -> Array:
    """``[N, 1, side, side, side]`` from ``[D, H, W]``."""
    d, h, w = (length // side for length in volume.shape)
    cut = volume[: d * side, : h * side, : w * side].reshape(d, side, h, side, w, side)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, 1, side, side, side)
