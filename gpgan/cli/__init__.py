"""The command ``gpgan``."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

# Each has a function run(arguments) -> exit status. They are imported when asked for: they need the extra packages.
COMMANDS = {"train": "train a generator on data", "doctor": "say what is installed and what is missing"}
EXTRA = ("tyro", "rich", "matplotlib", "sklearn")
GET_EXTRA = "pip install tyro rich matplotlib scikit-learn"

HELP = """\
gpgan: gradient penalties for Wasserstein GANs, and a trainer.

Examples:
  gpgan train digits                     train on handwritten digits, a few minutes on a CPU
  gpgan train images.npy --steps 20000   train on images [N, H, W] or [N, C, H, W] of your own
  gpgan train ring --seed 1 --name ring  train on eight Gaussians in the plane
  gpgan doctor                           say what is installed and what is missing

Commands:
{commands}

gpgan COMMAND --help lists the options of a command. Exit status: 0 done, 2 bad input, 130 interrupted and saved.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (``sys.argv`` where None) and returns its exit status: 0, 1, 2 or 130."""
    command, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in ("-h", "--help"):
        rows = (f"  {name:<10} {what}" for name, what in COMMANDS.items())
        sys.stdout.write(HELP.format(commands="\n".join(rows)))
        return 0
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return complain(f"there is no command {command!r}; wanted {' or '.join(COMMANDS)}{hint}")
    try:
        return int(importlib.import_module(f"gpgan.cli.{command}").run(arguments))
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRA:
            raise
        return complain(f"gpgan {command} needs {package}, which is not installed: {GET_EXTRA}")
    except KeyboardInterrupt:
        return 130


def complain(message: str, status: int = 2) -> int:
    """Writes one line to stderr and returns the exit status."""
    sys.stderr.write(f"gpgan: {' '.join(message.split())}\n")
    return status
