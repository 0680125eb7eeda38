"""``gpgan wedge``: restoration of the missing wedge of tomograms."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from gpgan.cli import complain
from gpgan.util.nearest import nearest

VERBS = {
    "simulate": "make particles or a tomogram of a structure, with the truth",
    "fit": "learn to restore, from observations alone",
    "restore": "write restored volumes, with their spread",
    "eval": "measure restored volumes against the truth",
}
HELP = """\
usage: gpgan wedge VERB [options]

Restores what a tilt series does not measure: the missing wedge of Fourier space.

Examples:
  gpgan wedge simulate ribosome --out sim -n 568 --snr 0.1 --tilt -60 60
  gpgan wedge fit sim/particles.star --tilt -60 60 --truth sim/truth --name ribosome
  gpgan wedge restore runs/ribosome --out restored --spread
  gpgan wedge eval runs/ribosome

Verbs:
{verbs}

gpgan wedge VERB --help lists the options of a verb. docs/missing_wedge.md explains the rest.
"""


def run(arguments: Sequence[str]) -> int:
    """Runs a verb and returns its exit status."""
    verb, *rest = list(arguments) or ["--help"]
    if verb in ("-h", "--help"):
        sys.stdout.write(HELP.format(verbs="\n".join(f"  {name:<9} {what}" for name, what in VERBS.items())))
        return 0
    if verb not in VERBS:
        return complain(f"VERB is {verb!r}; expected {' or '.join(VERBS)}{nearest(verb, VERBS)}")
    return int(importlib.import_module(f"gpgan.cli.wedge.{verb}").run(rest))
