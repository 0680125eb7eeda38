"""MRC files of volumes: read with their headers, and written with full ones.

The format is MRC2014: Cheng et al., doi 10.1016/j.jsb.2015.04.002.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpgan.data.paths import check_file
from gpgan.data.volumes import check_header, cubic
from gpgan.util.errors import first_line
from gpgan.util.files import replacing

WANTED = "an MRC file with one volume"
LABELS, LABEL = 10, 80


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume and what of its header belongs to it.

    Attributes:
        data: float32 ``[D, H, W]``, (z, y, x).
        voxel: The voxel size in angstroms, the same along all axes.
        origin: (x, y, z) in angstroms.
        start: The first voxel's indices (x, y, z), of a map that was cut out of a larger one.
        labels: Up to ten lines of text.
    """

    data: np.ndarray[Any, Any]
    voxel: float
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    start: tuple[int, int, int] = (0, 0, 0)
    labels: tuple[str, ...] = ()

    def with_data(self, data: np.ndarray[Any, Any], label: str = "") -> Volume:
        """The same header for other data, with a label added."""
        return replace(self, data=data, labels=(*self.labels, *([label] if label else [])))


def read_volume(path: Path, voxel: float | None = None) -> Volume:
    """Reads a volume of any byte order and mode, also gzipped or with an extended header.

    Args:
        path: The file.
        voxel: The voxel size in angstroms to use instead of the header's; None for the header's.

    Raises:
        ValueError: The file cannot be read, is cut short or holds no single volume; its values are not finite or all
            equal; or the header has no voxel size, or unequal ones.
        ModuleNotFoundError: mrcfile is not installed.
    """
    import mrcfile  # type: ignore[import-untyped,unused-ignore]

    check_file(path, WANTED)
    check_header(path)
    try:
        with mrcfile.open(path) as file:
            data = np.array(file.data, np.float32)
            header, size = file.header, file.voxel_size
            found = (float(size.x), float(size.y), float(size.z))
            origin = tuple(float(file.header.origin[each]) for each in "xyz")
            start = (int(header.nxstart), int(header.nystart), int(header.nzstart))
            labels = tuple(_label(each) for each in header.label[: int(header.nlabl)])
    except Exception as error:  # a damaged header can raise many errors
        raise ValueError(f"{path} cannot be read ({first_line(error)}); expected {WANTED}") from error
    if data.ndim == 4 and len(data) == 1:
        data = data[0]
    if data.ndim != 3:
        raise ValueError(f"{path} holds an array of shape {data.shape}; expected {WANTED}, [D, H, W]")
    if not np.isfinite(data).all():
        raise ValueError(f"{path} has {int((~np.isfinite(data)).sum())} NaN or infinite values; expected finite ones")
    if data.min() == data.max():
        raise ValueError(f"{path} has only the value {data.min():g}; expected a volume whose voxels differ")
    return Volume(data, voxel or cubic(path, found), origin, start, tuple(each for each in labels if each))  # type: ignore[arg-type]


def write_volume(path: Path, volume: Volume) -> None:
    """Writes a volume as float32, mode 2, with voxel size, origin, labels and statistics; a file is never left half-written.

    Raises:
        ValueError: The data is not finite.
        OSError: The file cannot be written.
    """
    import mrcfile

    if not np.isfinite(volume.data).all():
        raise ValueError(f"data for {path} has NaN or infinite values; expected finite ones")
    # mrcfile writes to names only; the file that it replaces stays until all is written.
    with replacing(path) as file, mrcfile.new(file.name, overwrite=True) as made:
        made.set_data(np.ascontiguousarray(volume.data, np.float32))
        made.set_volume()
        made.voxel_size = volume.voxel
        made.header.origin.x, made.header.origin.y, made.header.origin.z = volume.origin
        made.header.nxstart, made.header.nystart, made.header.nzstart = volume.start
        made.update_header_stats()
        lines = [each.encode("ascii", "replace")[:LABEL] for each in volume.labels][-LABELS:]
        for number in range(LABELS):
            made.header.label[number] = lines[number] if number < len(lines) else b""
        made.header.nlabl = len(lines)


def _label(value: Any) -> str:
    return bytes(value).split(b"\0")[0].decode("ascii", "replace").strip()
