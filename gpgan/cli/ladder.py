"""``gpgan ladder``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from gpgan.cli import complain
from gpgan.cli.arguments import Parser
from gpgan.cli.eval import DEFAULT, LARGEST, number
from gpgan.cli.progress import stages
from gpgan.cli.sets import real_set
from gpgan.metrics import ladder
from gpgan.metrics.measure_ladder import measure_ladder
from gpgan.metrics.quality import compared_by
from gpgan.metrics.reals import report_part
from gpgan.util.errors import reason
from gpgan.util.words import shown

DESCRIPTION = """\
Measure what real images of DATA score when they are blurred, noisy, without some classes, repeated or
copied, at rising strength. gpgan eval then says of each score which corruption is as bad. The table
goes to the user's cache folder, where gpgan eval finds it, or to --out.

Examples:
  gpgan ladder photos/
  gpgan ladder fashion -n 10000 --out fashion.json
"""


def run(arguments: Sequence[str]) -> int:
    """Measures, writes and prints a ladder; returns 0, or 2 on bad input."""
    parser = Parser("gpgan ladder", DESCRIPTION)
    parser.add_argument("data", nargs="?", default="", metavar="DATA", help="images, as for gpgan train")
    parser.add_argument("--features", default="", metavar="NAME", help="as for gpgan eval")
    parser.add_argument("-n", type=int, default=DEFAULT, metavar="N", help=f"samples of each set ({DEFAULT})")
    parser.add_argument("--device", default="cpu", metavar="D", help="where the feature network runs (cpu)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .json file, instead of the cache folder")
    parser.add_argument("--json", action="store_true", help="print a last line of JSON with the table")
    try:
        given = parser.given(arguments)
        if not given.data:
            raise ValueError("DATA is missing; expected images, as for gpgan train")
        if not 2 <= given.n <= LARGEST:
            raise ValueError(f"n is {given.n}; expected a whole number from 2 to {LARGEST}")
        dataset = real_set(given.data, False, "DATA")
        with stages() as progress:
            by = compared_by(dataset, given.features, device=given.device, progress=progress)
            measured = measure_ladder(dataset, report_part(dataset, given.n, 0, by), by, 0)
        path = ladder.save(measured, given.out)
    except (ValueError, OSError) as error:
        return complain(reason(error))
    for kind, metrics in measured.rungs.items():
        strengths = [strength for strength, _ in next(iter(metrics.values()))]
        rows = [[kind, *(f"{strength:g}" if strength else "none" for strength in strengths)]]
        rows += [[name, *(number(score) for _, score in rungs)] for name, rungs in metrics.items()]
        for row in rows:
            sys.stdout.write("".join(cell.ljust(18 if i == 0 else 10) for i, cell in enumerate(row)).rstrip() + "\n")
        sys.stdout.write("\n")
    sys.stdout.write(f"{measured.about['n']} samples of each set, {by.network.name}: {shown(path)}\n")
    if given.json:
        sys.stdout.write(json.dumps(ladder.as_json(measured)) + "\n")
    return 0
