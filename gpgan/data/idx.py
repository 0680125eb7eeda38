"""IDX, the format of MNIST: http://yann.lecun.com/exdb/mnist/, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from gpgan.data.arrays import Array, dataset_of
from gpgan.data.dataset import Dataset
from gpgan.data.paths import check_file, check_memory, name_of

WANTED = "an IDX file, the format of MNIST, plain or .gz"
# An array of more axes is no kind of data.
AXES = 5
# Bytes that deflate packs into one, at most.
DENSITY = 1032
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_idx(path: Path) -> Dataset:
    """Samples from an IDX file; labels from its neighbour with "labels" for "images" and "idx1" for "idx3" in its name.

    Raises:
        ValueError: A file cannot be read, or does not hold samples or labels.
    """
    array = read_idx(path)
    sibling = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = read_idx(sibling) if sibling != path and sibling.exists() else None
    return dataset_of(array, f"{path} holds", name_of(path), labels)


def read_idx(path: Path) -> Array:
    """The array of an IDX file, in this machine's byte order.

    Raises:
        ValueError: The file is missing, truncated, longer than its header says, or not an IDX file.
    """
    check_file(path, WANTED)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(4)
            if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES:
                raise _unlike(path, start)
            lengths = file.read(4 * start[3])
            if len(lengths) < 4 * start[3]:
                raise _unlike(path, start)
            shape, dtype = struct.unpack(f">{start[3]}I", lengths), np.dtype(TYPES[start[2]])
            if len(shape) > AXES:
                raise ValueError(f"{path} has {len(shape)} axes; expected at most {AXES}")
            size = math.prod(shape) * dtype.itemsize
            check_memory(size, f"{path} claims", "save a part of it")
            # No more than that is unpacked, however much is packed; a packed byte holds at most DENSITY.
            most = path.stat().st_size * (DENSITY if path.suffix == ".gz" else 1)
            content = file.read(min(size, most) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); expected {WANTED}: download the file again") from error
    if len(content) != size:
        raise ValueError(
            f"{path} has {'at least ' * (len(content) > size)}{len(content)} bytes of values; expected {size}, as its "
            f"header gives shape {shape} of {dtype.name}: download the file again"
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _unlike(path: Path, start: bytes) -> ValueError:
    return ValueError(
        f"{path} begins with {start!r}; expected {WANTED}: two zero bytes, a type of "
        f"{', '.join(f'0x{code:02x}' for code in TYPES)}, and the number of axes with their lengths"
    )
