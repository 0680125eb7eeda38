"""``gpgan resume``."""

from __future__ import annotations

from collections.abc import Sequence

from gpgan.cli import complain
from gpgan.cli.arguments import Parser, add_json
from gpgan.cli.running import run_trainer
from gpgan.training.trainer import Trainer

DESCRIPTION = """\
Go on with RUN, a run's folder, where its newest whole checkpoint stands. Everything else is as it
was: settings, data, random states. On a CPU the result is, bit for bit, that of a run that was never
interrupted.

Examples:
  gpgan resume runs/clothes                 to the step it was started for
  gpgan resume runs/clothes --steps 20000   further: N counts all steps, not more steps
  gpgan resume runs/clothes --minutes 60    for an hour at most
"""


def run(arguments: Sequence[str]) -> int:
    """Resumes as the arguments say; see ``run_trainer`` for the exit status."""
    parser = Parser("gpgan resume", DESCRIPTION, run=True)
    parser.add_argument("--steps", type=int, metavar="N", help="generator steps in all (as many as it was started for)")
    parser.add_argument("--minutes", type=float, metavar="X", help="stop after so many minutes, saved (no limit)")
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda or cuda:N (as before)")
    add_json(parser)
    try:
        given = parser.given(arguments)
    except ValueError as error:
        return complain(str(error))
    return run_trainer(
        lambda: Trainer.resume(given.run, steps=given.steps, minutes=given.minutes, device=given.device), given.json
    )
