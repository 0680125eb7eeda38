"""``gpgan wedge restore``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gpgan.cli import complain
from gpgan.cli.arguments import Parser, add_best
from gpgan.cli.progress import loading
from gpgan.cli.wedge.options import add_tilt, wedge_of
from gpgan.tasks.wedge.observed import noise_of
from gpgan.tasks.wedge.restoration import Restoration
from gpgan.training.saved import open_run
from gpgan.util.errors import reason
from gpgan.util.words import counted, shown
from gpgan.wedge.baselines import BASELINES
from gpgan.wedge.files import Volume, read_volume, write_volume
from gpgan.wedge.particles import Particle, particles_of, restore_particles
from gpgan.wedge.restored import Restored
from gpgan.wedge.tiles import restore_tiled, tiles_at_once

DESCRIPTION = f"""\
Restore the volumes of DATA (by default the run's own) with RUN, from gpgan wedge fit, or with a baseline
that learns nothing: {", ".join(BASELINES)}. Each file is written under its own
name, with its voxel size, origin and labels. A tomogram is restored in overlapping tiles by a run of
--amortised. A run of shared volumes also writes these, as volumes/1.mrc, ...

Examples:
  gpgan wedge restore runs/ribosome --out restored --spread
  gpgan wedge restore runs/tomo even.mrc --odd odd.mrc --out restored --memory 4000
  gpgan wedge restore --baseline gerchberg-papoulis sim/particles.star --tilt -60 60 --out gp
"""
# The share of the largest ball that baselines take for an object.
SHARE = 0.9


def run(arguments: Sequence[str]) -> int:
    """Restores; returns 0, 1 if a file cannot be written, or 2 on bad input."""
    parser = Parser("gpgan wedge restore", DESCRIPTION)
    parser.add_argument("paths", nargs="*", metavar="RUN DATA", help="the run's folder, and observations")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write to")
    parser.add_argument("--odd", type=Path, metavar="PATH", help="the odd halves, if DATA is the even ones")
    parser.add_argument("--spread", action="store_true", help="also the standard deviation of each voxel")
    parser.add_argument("--samples", type=int, default=0, metavar="N", help="also N samples of each posterior (0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same samples (0)")
    parser.add_argument("--memory", type=int, default=2000, metavar="MIB", help="for the tiles of a tomogram (2000)")
    parser.add_argument("--voxel", type=float, metavar="A", help="voxel size in angstroms, instead of the headers'")
    parser.add_argument("--baseline", metavar="B", help=f"instead of RUN: {', '.join(BASELINES)}")
    add_tilt(parser)
    add_best(parser)
    parser.add_argument("--json", action="store_true", help="print a last line of JSON with the folder")
    try:
        given = parser.given(arguments)
        if given.out is None:
            raise ValueError("--out is missing; expected a folder")
        if not 0 <= given.samples <= 1000:
            raise ValueError(f"samples is {given.samples}; expected 0 to 1000")
        if given.baseline is not None:
            restore, particles, label = _baseline(given)
        else:
            restore, particles, label = _from_run(given)
        _restore(given, restore, particles, label)
    except ValueError as error:
        return complain(reason(error))
    except OSError as error:
        return complain(reason(error), status=1)
    sys.stdout.write(f"{counted(len(particles), 'volume')} restored: {shown(given.out)}\n")
    if given.json:
        sys.stdout.write(json.dumps({"out": str(given.out.resolve())}) + "\n")
    return 0


# What restores halves in the units of the files, and the side of its volumes in voxels; 0: any.
Restore = tuple[Callable[[Tensor], Restored], int]


def _baseline(given: argparse.Namespace) -> tuple[Restore, list[Particle], str]:
    baseline, paths = given.baseline, given.paths
    if baseline not in BASELINES:
        raise ValueError(f"--baseline is {baseline!r}; expected {' or '.join(BASELINES)}")
    if len(paths) != 1:
        raise ValueError(f"{counted(len(paths), 'path')} given with --baseline; expected DATA alone")
    wedge = wedge_of(given)
    particles = particles_of(Path(paths[0]), given.odd)
    some = torch.stack([each.read(given.voxel)[1] for each in particles[:64]])
    measured = wedge.mask(some.shape[2:])
    variance = noise_of(some, measured)

    def restore(halves: Tensor) -> Restored:
        return Restored(BASELINES[baseline](halves.mean(1), measured, variance, SHARE))

    return (restore, 0), particles, f"gpgan wedge restore --baseline {baseline}"


def _from_run(given: argparse.Namespace) -> tuple[Restore, list[Particle], str]:
    paths = given.paths
    if not 1 <= len(paths) <= 2:
        raise ValueError(f"{counted(len(paths), 'path')} given; expected RUN, a run's folder, and DATA or nothing")
    saved = open_run(Path(paths[0]), best=given.best)
    task = saved.task
    if not isinstance(task, Restoration):
        raise ValueError(f"{paths[0]} is a run of the task {saved.config.task.name}; expected one of gpgan wedge fit")
    data = Path(paths[1]) if len(paths) == 2 else Path(saved.config.data)
    own = Path(saved.config.task.odd) if len(paths) == 1 and saved.config.task.odd else None
    particles = particles_of(data, given.odd or own)
    _, first = particles[0].read(given.voxel)
    if hasattr(task.sampler, "volumes") and first.shape[1:] != task.shape:
        raise ValueError(
            f"{particles[0].files[0]} has the shape {tuple(first.shape[1:])}, and the run's shared volumes {task.shape}; expected "
            "particles of that box, or a run of --amortised for a tomogram"
        )
    _write_shared(task, particles[0], given.out, given.voxel)
    wanted = max(given.samples, 16) if given.samples or given.spread else 0

    def restore(halves: Tensor) -> Restored:
        found = task.restore(halves / task.scale, wanted, given.seed)
        samples = None if found.samples is None else found.samples * task.scale
        return replace(found, mean=found.mean * task.scale, samples=samples)

    return (
        (restore, task.shape[0]),
        particles,
        f"gpgan wedge restore, {saved.config.task.name}, step {saved.state['step']}",
    )


def _write_shared(task: Restoration, particle: Particle, out: Path, voxel: float | None) -> None:
    """Writes the volumes that all particles share, if the run has such."""
    volumes = getattr(task.sampler, "volumes", None)
    if volumes is None:
        return
    (out / "volumes").mkdir(parents=True, exist_ok=True)
    size = read_volume(particle.files[0], voxel).voxel
    for number, volume in enumerate(volumes.detach() * task.scale, 1):
        write_volume(out / "volumes" / f"{number}.mrc", Volume(volume.cpu().numpy(), size, labels=(task.title(),)))


def _restore(given: argparse.Namespace, restore: Restore, particles: list[Particle], label: str) -> None:
    call, side = restore
    out, voxel = given.out, given.voxel
    _, halves = particles[0].read(voxel)
    if side and halves.shape[1:] != (side,) * 3:
        _tomograms(given, call, side, particles, label)
        return
    if side == 0 and len(set(halves.shape[1:])) > 1:
        raise ValueError(
            f"{particles[0].files[0]} has the shape {tuple(halves.shape[1:])}; expected cubes for a baseline: particles, not tomograms"
        )
    with loading("particles") as progress:
        restore_particles(
            particles,
            call,
            out,
            label=label,
            voxel=voxel,
            spread=given.spread,
            samples=given.samples,
            progress=progress,
        )


def _tomograms(
    given: argparse.Namespace, call: Callable[[Tensor], Restored], side: int, particles: list[Particle], label: str
) -> None:
    """Restores volumes of another size than the run's, tile by tile."""
    batch = tiles_at_once(side, given.memory)
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    for particle in particles:
        header, halves = particle.read(given.voxel)
        if min(halves.shape[1:]) < 2:
            raise ValueError(f"{particle.files[0]} has the shape {tuple(halves.shape[1:])}; expected a volume")
        results: dict[str, Callable[[Tensor], Tensor]] = {"": lambda tiles: call(tiles).mean}
        if given.spread:
            results["spread"] = _deviation_of(call)
        for folder, function in results.items():
            (out / folder).mkdir(exist_ok=True)
            with loading(f"tiles of {particle.name}") as progress:
                made = restore_tiled(halves, side, function, batch, progress)
            name = out / folder / f"{particle.name}.mrc"
            write_volume(name, header.with_data(made.numpy(), label))


def _deviation_of(call: Callable[[Tensor], Restored]) -> Callable[[Tensor], Tensor]:
    def deviation(tiles: Tensor) -> Tensor:
        found = call(tiles).deviation
        assert found is not None
        return found

    return deviation
