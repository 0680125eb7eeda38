"""``gpgan wedge fit``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gpgan.cli import complain, train
from gpgan.cli.arguments import Parser
from gpgan.cli.wedge.options import add_tilt, wedge_of
from gpgan.util.errors import reason

# By method: the task for volumes shared by all particles, and that for a network from observation to volume.
METHODS = {
    "cryogen-1": ("cryogen-1", "amortised-cryogen-1"),
    "cryogen-2": ("cryogen-2", "amortised-cryogen-2"),
    "cryowgen": ("cryowgen", "amortised-cryowgen"),
    "self-supervised": ("", "self-supervised"),
    "supervised": ("", "supervised"),
}
DESCRIPTION = f"""\
Learn to restore what a tilt series does not measure. DATA is a STAR file of particles or tomograms, a
folder of MRC files of one particle each, or one tomogram, which is cut into tiles.

Methods: {", ".join(METHODS)}.
The first three match the law of the observations: against a critic, by optimal transport, by entropic
transport. --shared K fits K volumes that all particles share, in any pose; --amortised trains a network
from an observation to its volume, for tomograms without repeated particles; it needs even and odd halves.

Examples:
  gpgan wedge fit sim/particles.star --tilt -60 60 --truth sim/truth --name ribosome
  gpgan wedge fit two/particles.star --method cryowgen --shared 2 --tilt -60 60
  gpgan wedge fit even.mrc --odd odd.mrc --amortised --method cryogen-1 --tilt -60 60 --minutes 60

Further options are those of gpgan train, such as --steps, --minutes, --seed, --out, --name, --device, and
the task's own: gpgan train --task cryowgen --help lists them.
"""


def run(arguments: Sequence[str]) -> int:
    """Trains; see ``gpgan.cli.running.run_trainer`` for the exit status."""
    parser = Parser("gpgan wedge fit", DESCRIPTION)
    parser.add_argument("data", nargs="?", default="", metavar="DATA", help="observations")
    parser.add_argument("--method", default="cryowgen", metavar="M", help=f"{', '.join(METHODS)} (cryowgen)")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--shared", type=int, metavar="K", help="K volumes that all particles share (1)")
    way.add_argument("--amortised", action="store_true", help="a network from an observation to its volume")
    add_tilt(parser)
    parser.add_argument("--odd", default="", metavar="PATH", help="the odd halves, if DATA is the even ones")
    parser.add_argument("--truth", default="", metavar="PATH", help="the truth of simulated data, for S on the curves")
    parser.add_argument("--voxel", type=float, metavar="A", help="voxel size in angstroms, instead of the headers'")
    parser.add_argument("--teacher", default="", metavar="PATH", help="--amortised: volumes to learn from, in any pose")
    parser.add_argument("-h", "--help", action="store_true", help="show this help")
    try:
        given, rest = parser.parse_known_args(list(arguments))
        if given.help:
            sys.stdout.write(parser.format_help())
            return 0
        if not given.data:
            raise ValueError("DATA is missing; expected a STAR file, a folder of .mrc files, or a .mrc file")
        return train.run([given.data, *settings(given), *rest])
    except ValueError as error:
        return complain(reason(error))


def settings(given: argparse.Namespace) -> list[str]:
    """The options of ``gpgan train``.

    Raises:
        ValueError: They do not go together.
    """
    method = given.method
    if method not in METHODS:
        raise ValueError(f"--method is {method!r}; expected {' or '.join(METHODS)}")
    task = METHODS[method][int(given.amortised)]
    if not task:
        raise ValueError(f"--method is {method}, which trains a network; expected --amortised with it")
    wedge = wedge_of(given)
    found = {
        "--task": task,
        "--task.tilt-min": f"{wedge.low:g}",
        "--task.tilt-max": f"{wedge.high:g}",
        "--task.axis": wedge.axis,
    }
    optional = {
        "--task.odd": given.odd,
        "--task.truth": given.truth,
        "--task.voxel": given.voxel,
        "--task.volumes": given.shared,
        "--task.teacher": given.teacher,
    }
    found |= {name: str(value) for name, value in optional.items() if value not in (None, "")}
    return [f"{name}={value}" for name, value in found.items()]
