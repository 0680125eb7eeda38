"""Options that several verbs of ``gpgan wedge`` share."""

from __future__ import annotations

import argparse

from gpgan.cli.arguments import Parser
from gpgan.wedge.mask import PLANES, Wedge


def add_tilt(parser: Parser) -> None:
    """Adds --tilt and --axis."""
    parser.add_argument(
        "--tilt", type=float, nargs=2, metavar=("MIN", "MAX"), help="the tilt range in degrees, e.g. --tilt -60 60"
    )
    parser.add_argument("--axis", default="y", metavar="A", help=f"the tilt axis: {', '.join(PLANES)} (y)")


def wedge_of(given: argparse.Namespace) -> Wedge:
    """The tilt range of a command line.

    Raises:
        ValueError: It is missing or out of range.
    """
    if given.tilt is None:
        raise ValueError("--tilt is missing; expected the smallest and the largest tilt in degrees, e.g. --tilt -60 60")
    low, high = given.tilt
    return Wedge(low, high, given.axis)
