"""NumPy's files: .npy and .npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpgan.data.arrays import Array, dataset_of
from gpgan.data.dataset import Dataset
from gpgan.data.named import dataset_of_named
from gpgan.data.paths import check_file, check_memory, name_of
from gpgan.util.errors import first_line

# Larger files are memory-mapped, not read.
MAPPED_BYTES = 256 << 20


def load_npy(path: Path) -> Dataset:
    """Samples from a ``.npy`` file, laid out as in ``dataset_of``; memory-mapped if larger than 256 MiB.

    Nothing in the file is executed.

    Raises:
        ValueError: The file is missing, empty or not a ``.npy`` file, or its array has the wrong type, shape or values.
    """
    wanted = "a .npy file, as written by numpy.save"
    check_file(path, wanted)
    # Copy-on-write: torch needs a writable array, and changes to it stay in memory.
    mapped = path.stat().st_size > MAPPED_BYTES
    try:
        array = np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
    except Exception as error:  # A damaged file can raise anything that a parser raises.
        raise ValueError(f"{path} cannot be read ({first_line(error)}); expected {wanted}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is an archive; expected {wanted}: rename it to .npz")
    return dataset_of(array, f"{path} holds", name_of(path))


def load_npz(path: Path) -> Dataset:
    """Samples, labels and test sets from a ``.npz`` file, found by the arrays' names as in ``dataset_of_named``.

    Raises:
        ValueError: As for ``load_npy``, or it is not clear which array holds the samples.
    """
    wanted = "a .npz file, as written by numpy.savez"
    check_file(path, wanted)
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it is a .npy file")
    except Exception as error:
        raise ValueError(f"{path} cannot be read ({first_line(error)}); expected {wanted}") from error

    def read(name: str) -> Array:
        for member in archive.zip.infolist():
            if member.filename in (name, f"{name}.npy"):
                check_memory(member.file_size, f"{path} holds {name} with", "save it as .npy, which is mapped")
        try:
            array = archive[name]
        except Exception as error:
            raise ValueError(f"{path} cannot be read ({name}: {first_line(error)}); expected {wanted}") from error
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path} holds {name}, which is not an array; expected {wanted}")
        return array

    with archive:
        return dataset_of_named(archive.files, read, f"{path} holds", name_of(path))
