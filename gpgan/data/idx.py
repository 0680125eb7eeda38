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
from gpgan.data.paths import check_file, name_of

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
    wanted = "an IDX file, the format of MNIST, plain or .gz"
    check_file(path, wanted)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); expected {wanted}: download the file again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or len(content) < 4 + 4 * content[3]:
        raise ValueError(
            f"{path} begins with {content[:4]!r}; expected {wanted}: two zero bytes, a type of "
            f"{', '.join(f'0x{code:02x}' for code in TYPES)}, and the number of axes with their lengths"
        )
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    dtype = np.dtype(TYPES[content[2]])
    if len(content) - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"{path} has {len(content) - start} bytes of values; expected {math.prod(shape) * dtype.itemsize}, as its header "
            f"gives shape {shape} of {dtype.name}: download the file again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
