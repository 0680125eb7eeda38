"""The atoms of mmCIF and PDB files, as weighted points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpgan.util.errors import first_line

SUFFIXES = (".cif", ".mmcif", ".pdb", ".ent")


@dataclass(frozen=True, eq=False)
class Points:
    """A structure as weighted points about its centre of weight.

    Attributes:
        positions: float32 ``[M, 3]``, (x, y, z) in angstroms; or ``[M, 2]``, (x, z), of a projection.
        weights: float32 ``[M]``, 0 or more.
        spacing: The smallest voxel size in angstroms that they are dense enough for; 0: any.
    """

    positions: Tensor
    weights: Tensor
    spacing: float = 0.0

    @property
    def radius(self) -> float:
        """The distance of the farthest point from the centre, in angstroms."""
        return float(self.positions.norm(dim=1).max())


def centred(positions: Tensor, weights: Tensor, spacing: float = 0.0) -> Points:
    """Points ``[M, 3]`` about their centre of weight."""
    exact = positions.double()
    middle = (exact * weights.double()[:, None]).sum(0) / weights.double().sum()
    return Points((exact - middle).float(), weights.float(), spacing)


def read_atoms(path: Path) -> Points:
    """The atoms of a file, weighted by atomic number, which electrons scatter by roughly.

    Of a file with several models the first counts.

    Args:
        path: mmCIF or PDB, may be gzipped.

    Raises:
        ValueError: The file cannot be read or has no atoms.
        ModuleNotFoundError: gemmi is not installed.
    """
    import gemmi

    try:
        return _points(gemmi.read_structure(str(path)), str(path))
    except (OSError, RuntimeError, UnicodeError) as error:  # gemmi's own errors
        raise ValueError(f"{path} cannot be read ({first_line(error)}); expected an mmCIF or PDB file") from error


def read_atoms_of(content: bytes, name: str) -> Points:
    """As ``read_atoms``, for the content of a file of that name.

    Raises:
        ValueError: The content cannot be read or has no atoms.
        ModuleNotFoundError: gemmi is not installed.
    """
    import gemmi

    text = content.decode("utf-8", "replace")
    if name.endswith((".pdb", ".ent")):
        return _points(gemmi.read_pdb_string(text), name)
    return _points(gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block()), name)


def _points(structure: Any, where: str) -> Points:
    atoms = [each.atom for each in structure[0].all()] if len(structure) else []
    if not atoms:
        raise ValueError(f"{where} has no atoms; expected an mmCIF file with a loop _atom_site, or a PDB file")
    positions = torch.from_numpy(np.array([atom.pos.tolist() for atom in atoms]))
    if not positions.isfinite().all():
        raise ValueError(f"{where} has atoms whose positions are not finite; expected angstroms")
    return centred(positions, torch.tensor([float(atom.element.atomic_number) for atom in atoms]))
