"""The files of particles and tomograms: read with their halves, and restored under the same names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpgan.data.paths import Progress
from gpgan.data.star import read_star, write_star
from gpgan.data.volumes import STAR, volume_files
from gpgan.util.words import counted
from gpgan.wedge.files import Volume, read_volume, write_volume
from gpgan.wedge.restored import Restored
from gpgan.wedge.rotations import to_euler

# Particles at once.
BATCH = 16


@dataclass(frozen=True)
class Particle:
    """An observation in files.

    Attributes:
        name: What its restoration is called, without suffix; dots are part of it.
        files: Of the volume, or of its even and odd half.
    """

    name: str
    files: tuple[Path, ...]

    def read(self, voxel: float | None = None) -> tuple[Volume, Tensor]:
        """The header of the first file, and the halves ``[C, D, H, W]``.

        Raises:
            ValueError: A file cannot be read, or the halves differ in shape.
        """
        volumes = [read_volume(file, voxel) for file in self.files]
        for file, volume in zip(self.files, volumes, strict=True):
            if volume.data.shape != volumes[0].data.shape:
                raise ValueError(
                    f"{file} has the shape {volume.data.shape}, and its other half {volumes[0].data.shape}; expected the same"
                )
        return volumes[0], torch.stack([torch.from_numpy(volume.data) for volume in volumes])


def particles_of(path: Path, odd: Path | None = None) -> list[Particle]:
    """The observations that a path stands for.

    Args:
        path: A STAR file, a folder of MRC files, or one such file.
        odd: The odd halves, if ``path`` is the even ones: files of the same names, or one file.

    Raises:
        ValueError: There are none, two have one name, or the halves do not match.
    """
    rows = read_star(path).files if path.suffix.lower() == STAR else [(file,) for file in volume_files(path)]
    if not rows:
        raise ValueError(f"{path} holds no MRC file; expected a STAR file, a folder of MRC files, or one such file")
    if odd is not None:
        others = volume_files(odd)
        if len(rows[0]) == 2 or len(others) != len(rows):
            raise ValueError(
                f"odd is {odd} with {counted(len(others), 'file')}, and {path} has {counted(len(rows), 'row')} of {len(rows[0])}; expected "
                "as many, of one half each"
            )
        rows = [(row[0], other) for row, other in zip(rows, others, strict=True)]
    for row in rows:
        if len(row) == 2 and row[0].resolve() == row[1].resolve():
            raise ValueError(f"{row[0]} is both the even and the odd half; expected two files")
        if len(row) == 2 and len(rows) > 1 and odd is not None and row[0].stem != row[1].stem:
            raise ValueError(f"{row[0]} and {row[1]} are a pair of halves; expected files of the same name")
    names = [row[0].name.removesuffix(".gz").removesuffix(row[0].suffix) for row in rows]
    if len(set(names)) < len(names):
        # Of files that share a name, in folders of their own, the folder is part of it.
        names = ["_".join([*row[0].parts[-2:-1], name]) for row, name in zip(rows, names, strict=True)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path} has two files with the name {twice}; expected names that differ")
    return [Particle(name, tuple(row)) for name, row in zip(names, rows, strict=True)]


def restore_particles(
    particles: Sequence[Particle],
    restore: Callable[[Tensor], Restored],
    out: Path,
    *,
    label: str,
    voxel: float | None = None,
    spread: bool = False,
    samples: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Writes the restoration of each particle, with its own header, and a STAR file of all.

    Args:
        particles: Of one shape.
        restore: From halves ``[B, C, D, H, W]`` in the units of the files.
        out: A folder: NAME.mrc, and in spread/ and samples/ the deviation per voxel and samples.
        label: Added to the headers.
        voxel: Instead of the voxel size of the headers.
        spread: Write the deviation.
        samples: How many samples of each to write.
        progress: Called with (particles done, particles in all).

    Returns:
        The path of the STAR file.

    Raises:
        ValueError: A file cannot be read.
        OSError: One cannot be written.
    """
    for folder in (out, *([out / "spread"] if spread else []), *([out / "samples"] if samples else [])):
        folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list[object]] = {"rlnImageName": [f"{particle.name}.mrc" for particle in particles]}
    for start in range(0, len(particles), BATCH):
        some = particles[start : start + BATCH]
        headers, halves = zip(*(each.read(voxel) for each in some), strict=True)
        for each, half in zip(some, halves, strict=True):
            if half.shape != halves[0].shape:
                raise ValueError(
                    f"{each.files[0]} has volumes of shape {tuple(half.shape)}, and {some[0].files[0]} {tuple(halves[0].shape)}; "
                    "expected one shape"
                )
        restored = restore(torch.stack(halves))
        _add_poses(columns, restored)
        deviation = restored.deviation
        for place, (particle, header) in enumerate(zip(some, headers, strict=True)):
            write_volume(out / f"{particle.name}.mrc", header.with_data(_array(restored.mean[place]), label))
            if spread and deviation is not None:
                name = out / "spread" / f"{particle.name}.mrc"
                write_volume(name, header.with_data(_array(deviation[place]), f"{label}, deviation"))
            for number in range(samples if restored.samples is not None else 0):
                assert restored.samples is not None
                name = out / "samples" / f"{particle.name}_{number + 1}.mrc"
                write_volume(name, header.with_data(_array(restored.samples[number, place]), f"{label}, sample"))
        if progress:
            progress(start + len(some), len(particles))
    star = out / "restored.star"
    write_star(star, {"particles": columns})
    return star


def _add_poses(columns: dict[str, list[object]], restored: Restored) -> None:
    """Adds the poses and classes of shared volumes, as RELION names them."""
    if restored.rotations is not None:
        for name, angles in zip(("Rot", "Tilt", "Psi"), to_euler(restored.rotations).T.tolist(), strict=True):
            columns.setdefault(f"rlnAngle{name}", []).extend(angles)
    if restored.classes is not None:
        columns.setdefault("rlnClassNumber", []).extend((restored.classes + 1).tolist())


def _array(volume: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return volume.detach().float().cpu().numpy()
