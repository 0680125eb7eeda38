"""``gpgan resume``."""

from __future__ import annotations

from collections.abc import Sequence

from gpgan.cli import complain
from gpgan.cli.arguments import Parser, add_json
from gpgan.cli.running import run_trainer
from gpgan.training.trainer import Trainer

DESCRIPTION = """\
Continue RUN, a run's folder, from its newest intact checkpoint, with the same settings, data and
random states. On a CPU the result is, bit for bit, that of a run that was never interrupted.

Examples:
  gpgan resume runs/clothes                 to the number of steps it was started with
  gpgan resume runs/clothes --steps 20000   to 20000 steps in total
  gpgan resume runs/clothes --minutes 60    for at most an hour
"""


def run(arguments: Sequence[str]) -> int:
    """Resumes as the arguments specify; see ``run_trainer`` for the exit status."""
    parser = Parser("gpgan resume", DESCRIPTION, run=True)
    parser.add_argument("--steps", type=int, metavar="N", help="total steps (as before)")
    parser.add_argument("--minutes", type=float, metavar="X", help="stop after X minutes, saved (no limit)")
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda or cuda:N (as before)")
    add_json(parser)
    try:
        given = parser.given(arguments)
    except ValueError as error:
        return complain(str(error))
    return run_trainer(
        lambda: Trainer.resume(
            given.run, steps=given.steps, minutes=given.minutes, device=given.device, trust_code=given.trust_code
        ),
        given.json,
    )
