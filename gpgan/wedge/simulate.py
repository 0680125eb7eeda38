"""Simulated particles and tomograms of a structure, with their truth, in files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpgan.data.paths import Progress
from gpgan.data.star import write_star
from gpgan.wedge.atoms import Points
from gpgan.wedge.ctf import CTF
from gpgan.wedge.files import Volume, write_volume
from gpgan.wedge.observe import Observation, halves
from gpgan.wedge.render import render
from gpgan.wedge.rotations import from_quaternions, random_rotations, to_euler

# The least distance of two particles in a tomogram, in units of the largest one's radius, and the tries to place each.
APART, TRIES = 2.0, 2000
PARTS = ("particles", "even", "odd", "truth")


@dataclass(frozen=True)
class Simulation:
    """What is simulated.

    Attributes:
        observation: T, with the voxel size.
        snr: The variance of the volume divided by that of the noise, over all voxels.
        box: The side of a particle's volume in voxels, or the shape (D, H, W) of a tomogram.
        seed: Same seed, same files.
        within: The largest angle in degrees between a pose and the structure's own; 180: uniform.
    """

    observation: Observation
    snr: float
    box: int | tuple[int, int, int]
    seed: int = 0
    within: float = 180.0

    def __post_init__(self) -> None:
        sides = (self.box,) if isinstance(self.box, int) else self.box
        if not (math.isfinite(self.snr) and self.snr > 0):
            raise ValueError(f"snr is {self.snr:g}; expected a finite number above 0, e.g. 0.1")
        if min(sides) < 8 or any(side % 2 for side in sides):
            raise ValueError(f"box is {' x '.join(map(str, sides))} voxels; expected even sides of 8 or more")
        if not (math.isfinite(self.observation.voxel) and self.observation.voxel > 0):
            raise ValueError(f"voxel is {self.observation.voxel:g} angstroms; expected a size above 0")
        if not 0 <= self.within <= 180:
            raise ValueError(f"within is {self.within:g} degrees; expected 0 to 180")


def poses(count: int, within: float, rng: torch.Generator) -> Tensor:
    """Random rotations ``[count, 3, 3]``: uniform, or rejected until within an angle in degrees of none."""
    if within >= 180:
        return random_rotations(count, 3, rng)
    # The angle of a uniform rotation has the density (1 - cos a) / pi: drawn by inverting a table of its integral.
    angles = torch.linspace(0, math.radians(within), 4096, dtype=torch.float64)
    integral = angles - angles.sin()
    drawn = torch.rand(count, generator=rng, dtype=torch.float64) * integral[-1]
    angle = torch.from_numpy(np.interp(drawn.numpy(), integral.numpy(), angles.numpy()))
    axis = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    axis = axis / axis.norm(dim=1, keepdim=True)
    half = (angle / 2)[:, None]
    return from_quaternions(torch.cat([half.cos(), axis * half.sin()], 1))


def write_particles(
    structures: Sequence[tuple[str, Points]],
    count: int,
    simulation: Simulation,
    folder: Path,
    progress: Progress | None = None,
) -> Path:
    """Writes particles, in turns of each structure, with their halves and their truth, and a STAR file of all.

    The folder then holds ``particles/``, their halves ``even/`` and ``odd/``, and ``truth/`` with files of the same names,
    each structure in its own pose, ``weights.mrc`` with T as RELION reads it, and ``particles.star``.

    Args:
        structures: With their names.
        count: The number of particles.
        simulation: How they are observed.
        folder: An empty or new one.
        progress: Called with (particles done, particles in all).

    Returns:
        The path of the STAR file.

    Raises:
        ValueError: The numbers do not fit the structures, or the folder is not empty.
        OSError: A file cannot be written.
    """
    assert isinstance(simulation.box, int)
    side, voxel = simulation.box, simulation.observation.voxel
    if count < 1:
        raise ValueError(f"n is {count}; expected 1 or more particles")
    for name, points in structures:
        if 2 * points.radius > side * voxel:
            raise ValueError(
                f"box is {side} voxels of {voxel:g} angstroms, and {name} is {2 * points.radius:.0f} angstroms wide; expected a box "
                f"of {2 * math.ceil(points.radius / voxel)} or more"
            )
    own = _own(structures, (side,) * 3, voxel)
    _check_empty(folder)
    shape = (side, side, side)
    for part in PARTS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    label = f"gpgan wedge simulate, seed {simulation.seed}"
    _write_own(structures, own, voxel, folder, label)
    filtered = simulation.observation.filter(shape)
    _write_weights(folder / "weights.mrc", filtered.transfer, voxel, label)
    rng = torch.Generator().manual_seed(simulation.seed)
    turns = poses(count, simulation.within, rng)
    names = [f"{number:06d}.mrc" for number in range(1, count + 1)]
    for number, (turn, file) in enumerate(zip(turns, names, strict=True)):
        which = number % len(structures)
        truth = render(structures[which][1], turn, shape, voxel) / own[which][1]
        even, odd = halves(truth, filtered, simulation.snr**-0.5, rng)
        for part, volume in zip(PARTS, ((even + odd) / 2, even, odd, truth), strict=True):
            write_volume(folder / part / file, Volume(volume.numpy(), voxel, labels=(label, structures[which][0])))
        if progress:
            progress(number + 1, count)
    classes = [1 + number % len(structures) for number in range(count)]
    star = folder / "particles.star"
    write_star(star, particle_tables(names, to_euler(turns), classes, simulation), {"rlnTomoSubTomosAre2DStacks": 0})
    return star


def write_tomogram(structures: Sequence[tuple[str, Points]], count: int, simulation: Simulation, folder: Path) -> Path:
    """Writes a tomogram of particles that do not overlap, its halves, its truth, and STAR files of both.

    Args:
        structures: With their names, taken in turns.
        count: The number of particles.
        simulation: How it is observed; its box is a shape.
        folder: An empty or new one.

    Returns:
        The path of the STAR file of the tomogram.

    Raises:
        ValueError: The particles do not fit, or the folder is not empty.
        OSError: A file cannot be written.
    """
    assert not isinstance(simulation.box, int)
    shape, voxel = simulation.box, simulation.observation.voxel
    radius = max(points.radius for _, points in structures)
    rng = torch.Generator().manual_seed(simulation.seed)
    centres = _places(count, shape, radius / voxel, rng) * voxel
    side = 2 * math.ceil(radius / voxel) + 2
    own = _own(structures, (side,) * 3, voxel)
    _check_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    label = f"gpgan wedge simulate, seed {simulation.seed}"
    _write_own(structures, own, voxel, folder, label)
    turns, truth = poses(count, simulation.within, rng), torch.zeros(shape)
    for number, (turn, centre) in enumerate(zip(turns, centres.tolist(), strict=True)):
        which = number % len(structures)
        truth += render(structures[which][1], turn, shape, voxel, centre) / own[which][1]
    even, odd = halves(truth, simulation.observation.filter(shape), float(truth.std()) * simulation.snr**-0.5, rng)
    for part, volume in zip(("tomogram", *PARTS[1:]), ((even + odd) / 2, even, odd, truth), strict=True):
        write_volume(folder / f"{part}.mrc", Volume(volume.numpy(), voxel, labels=(label, part)))
    ctf = simulation.observation.ctf or CTF(0.0)
    tomograms: dict[str, Sequence[object]] = {
        "rlnTomoName": ["simulated"],
        "rlnVoltage": [ctf.voltage],
        "rlnSphericalAberration": [ctf.cs],
        "rlnAmplitudeContrast": [ctf.amplitude],
        "rlnTomoTiltSeriesPixelSize": [voxel],
        "rlnTomoTomogramBinning": [1.0],
        **{f"rlnTomoSize{axis}": [size] for axis, size in zip("XYZ", shape[::-1], strict=True)},
        "rlnTomoReconstructedTomogram": ["tomogram.mrc"],
        "rlnTomoReconstructedTomogramHalf1": ["even.mrc"],
        "rlnTomoReconstructedTomogramHalf2": ["odd.mrc"],
    }
    star = folder / "tomograms.star"
    write_star(star, {"global": tomograms})
    particles = {
        "rlnTomoName": ["simulated"] * count,
        **{f"rlnCenteredCoordinate{axis}Angst": each for axis, each in zip("XYZ", centres.T.tolist(), strict=True)},
        **{
            f"rlnAngle{name}": each
            for name, each in zip(("Rot", "Tilt", "Psi"), to_euler(turns).T.tolist(), strict=True)
        },
        "rlnClassNumber": [1 + number % len(structures) for number in range(count)],
    }
    write_star(folder / "coordinates.star", {"particles": particles})
    return star


def _places(count: int, shape: Sequence[int], radius: float, rng: torch.Generator) -> Tensor:
    """Random centres (x, y, z) in voxels from the middle, float64 ``[count, 3]``, apart from each other and the border."""
    room = torch.tensor([size / 2 - radius for size in shape[::-1]], dtype=torch.float64)
    found: list[Tensor] = []
    if count < 1:
        raise ValueError(f"n is {count}; expected 1 or more particles")
    for _ in range(TRIES * count):
        if len(found) == count or room.min() < 0:
            break
        at = (2 * torch.rand(3, generator=rng, dtype=torch.float64) - 1) * room
        if all((at - each).norm() >= APART * radius for each in found):
            found.append(at)
    if len(found) < count:
        raise ValueError(
            f"n is {count}, and {len(found)} particles of {2 * radius:.0f} voxels fit into {' x '.join(map(str, shape))} without an "
            "overlap; expected fewer particles, or a larger box"
        )
    return torch.stack(found)


def _own(structures: Sequence[tuple[str, Points]], shape: Sequence[int], voxel: float) -> list[tuple[Tensor, float]]:
    """Each structure in its own pose, with standard deviation 1, and what it was divided by."""
    volumes = [render(points, torch.eye(3), shape, voxel) for _, points in structures]
    return [(volume / volume.std(), float(volume.std())) for volume in volumes]


def _write_own(
    structures: Sequence[tuple[str, Points]],
    own: Sequence[tuple[Tensor, float]],
    voxel: float,
    folder: Path,
    label: str,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for (name, _), (volume, _) in zip(structures, own, strict=True):
        write_volume(folder / f"{name}.mrc", Volume(volume.numpy(), voxel, labels=(label, name)))


def _write_weights(path: Path, transfer: Tensor, voxel: float, label: str) -> None:
    """T as RELION reads a three-dimensional CTF: the components of rfftn, x fastest."""
    write_volume(path, Volume(transfer.float().numpy(), voxel, labels=(label, "transfer function, as rlnCtfImage")))


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out is {folder}, which exists and is not an empty folder; expected a new name")


def particle_tables(
    names: Sequence[str], angles: Tensor, classes: Sequence[int], simulation: Simulation
) -> dict[str, dict[str, Sequence[object]]]:
    """The tables ``optics`` and ``particles`` of RELION 5 for subtomograms.

    Args:
        names: Of the files in ``even`` and ``odd``.
        angles: rot, tilt and psi in degrees, ``[N, 3]``.
        classes: From 1.
        simulation: Tells voxel, box and microscope.
    """
    voxel, count = simulation.observation.voxel, len(names)
    ctf = simulation.observation.ctf or CTF(0.0)
    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["optics1"],
        "rlnVoltage": [ctf.voltage],
        "rlnSphericalAberration": [ctf.cs],
        "rlnAmplitudeContrast": [ctf.amplitude],
        "rlnTomoTiltSeriesPixelSize": [voxel],
        "rlnCtfDataAreCtfPremultiplied": [0],
        "rlnImageDimensionality": [3],
        "rlnTomoSubtomogramBinning": [1.0],
        "rlnImagePixelSize": [voxel],
        "rlnImageSize": [simulation.box],
    }
    stems = [Path(name).stem for name in names]
    rot, tilt, psi = angles.T.tolist()
    zeros = [0.0] * count
    particles = {
        "rlnTomoName": ["simulated"] * count,
        "rlnTomoParticleName": [f"simulated/{int(stem)}" for stem in stems],
        "rlnImageName": [f"particles/{name}" for name in names],
        "rlnUnfilteredMapHalf1": [f"even/{name}" for name in names],
        "rlnUnfilteredMapHalf2": [f"odd/{name}" for name in names],
        "rlnCtfImage": ["weights.mrc"] * count,
        **{f"rlnCenteredCoordinate{axis}Angst": zeros for axis in "XYZ"},
        **{f"rlnOrigin{axis}Angst": zeros for axis in "XYZ"},
        "rlnAngleRot": rot,
        "rlnAngleTilt": tilt,
        "rlnAnglePsi": psi,
        "rlnClassNumber": classes,
        "rlnOpticsGroup": [1] * count,
        "rlnRandomSubset": [1 + number % 2 for number in range(count)],
    }
    return {"optics": optics, "particles": particles}
