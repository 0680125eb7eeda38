"""Command line parsers, built from tables of options; a bad command line is a one-line ValueError."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from gpgan import objectives
from gpgan.cli.progress import loading
from gpgan.data import BUILT_IN, Dataset
from gpgan.settings.config import NAMES, RunConfig, options
from gpgan.settings.merging import read_file
from gpgan.settings.presets import PRESETS, presets_of
from gpgan.tasks.configure import configure, gather, load_data, task_of
from gpgan.tasks.registry import DEFAULT, TASKS, WEDGE
from gpgan.util.nearest import nearest

TASK = "task.name"
TRAIN = f"""\
Examples:
  gpgan train fashion --minutes 20 --name clothes    then: gpgan resume runs/clothes --steps 20000
  gpgan train photos/ --size 64 --batch 32 --network.width 32 --precision bf16
  gpgan train ring --preset wgan-gp-toy --steps 5000 --dry-run

Trains a Wasserstein GAN with gradient penalty, or what --preset and --objective select; --task NAME
selects another task, and gpgan train --task NAME --help lists its options. DATA is one of
{", ".join(BUILT_IN)}, a folder of images, a .npy, .npz,
IDX or .mrc file, or module:attribute in your own code. Settings come from the defaults for DATA,
then --preset, then --config, then these options. The defaults below are those for {{of}}.
"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises errors, with the nearest option, and prints one line of help per option.

    Args:
        prog: e.g. ``gpgan sample``.
        description: Shown above the options.
        run: Whether the first argument of the command is a run's folder.
        optional: Whether that can be left out.
    """

    def __init__(self, prog: str, description: str, run: bool = False, optional: bool = False) -> None:
        width = min(100, shutil.get_terminal_size((100, 24)).columns)

        def formatter(prog: str) -> argparse.HelpFormatter:
            return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=width)

        super().__init__(prog, description=description, formatter_class=formatter, allow_abbrev=False, add_help=False)
        self._run, self._optional = run, optional
        if run:
            self.add_argument("run", nargs="?", type=Path, metavar="RUN", help="a run's folder, e.g. runs/00000-digits")

    def given(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses the arguments.

        Raises:
            ValueError: They are invalid.
            SystemExit: Help was requested and has been printed.
        """
        if self._run:
            self.add_argument(
                "--trust-code", action="store_true", help="run the Python code that a run from elsewhere names"
            )
        self.add_argument("-h", "--help", action="store_true", help="show this help")
        given = self.parse_args(list(arguments))
        if given.help:
            sys.stdout.write(self.format_help())
            raise SystemExit(0)
        if self._run and given.run is None and not self._optional:
            raise ValueError("RUN is missing; expected a run's folder: gpgan ls lists them")
        return given

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
        known = [name for action in self._actions for name in action.option_strings]
        hint = nearest(unknown[1], known) if unknown else ""
        message = re.sub(r"^argument ", "", message)
        for type, expected in NAMES.items():
            name = getattr(type, "__name__", "")
            message = re.sub(rf"^(\S+): invalid {name} value: (.*)$", rf"\1 is \2; expected {expected}", message)
        raise ValueError(f"{message}{hint} ({self.prog} --help lists the options)")


def train_parser(task: Any, defaults: RunConfig | None = None, of: str = "images") -> Parser:
    """The parser of ``gpgan train`` for a task; options have no defaults, so that only given ones are returned."""
    parser = Parser("gpgan train", TRAIN.format(of=of))
    parser.usage = "gpgan train DATA [options]"
    parser.add_argument("data", nargs="?", default="", help=argparse.SUPPRESS)
    groups: dict[str, Any] = {}
    name_of_task = task.config_class().task.name
    # The general help lists all presets, the help of another task only its own.
    presets = list(PRESETS) if name_of_task == DEFAULT else presets_of(name_of_task)
    titles = {
        "": "run",
        "network": "networks",
        "penalty": "gradient penalty",
        "optimizer": "optimizer of both networks",
    }
    for name, field, type in options(task.config_class):
        tree, _, leaf = name.rpartition(".")
        default = getattr(getattr(defaults, tree) if tree else defaults, leaf) if defaults else field.default
        if name == "data":
            continue
        if name == TASK:
            tree = ""  # next to --preset, which also selects the task
        if tree not in groups:
            groups[tree] = parser.add_argument_group(titles.get(tree, f"{tree} {name_of_task}"))
        shown = (
            "" if default in (None, "", False) else f" ({default:g})" if isinstance(default, float) else f" ({default})"
        )
        settings: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": field.metadata["help"] + shown}
        tasks = [each for each in TASKS if each not in WEDGE]
        names = {"preset": presets, "objective": list(objectives.OBJECTIVES), TASK: tasks}
        if name in names:
            settings["help"] = f"{', '.join(names[name])}: {settings['help']}"
        settings["help"] = settings["help"].replace("%", "%%")
        flag = f"--{'task' if name == TASK else name.replace('_', '-')}"
        if type is bool:
            no = f"--{tree}{'.' * bool(tree)}no-{leaf.replace('_', '-')}"  # undoes a file or a preset
            groups[tree].add_argument(flag, action="store_true", **settings)
            groups[tree].add_argument(no, action="store_false", **{**settings, "help": argparse.SUPPRESS})
        else:
            groups[tree].add_argument(flag, metavar=field.metadata["metavar"], **settings)
    own = parser.add_argument_group("this command")
    own.add_argument("--config", type=Path, default=None, metavar="FILE", help="TOML with any of these settings")
    own.add_argument("--dry-run", action="store_true", help="print the resolved settings as JSON and exit")
    add_json(own)
    own.add_argument("-h", "--help", action="store_true", help="show this help; after DATA, with the defaults for DATA")
    return parser


def add_best(parser: Parser) -> None:
    parser.add_argument("--best", action="store_true", help="the best checkpoint of the run, not the newest")


def add_json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print a last line of JSON with the run's path")


def parse_train(arguments: Sequence[str]) -> tuple[RunConfig, Dataset, argparse.Namespace]:
    """The configuration of a command line, its data set, and the command's own options.

    Raises:
        ValueError: An argument, the file or the data is invalid.
        SystemExit: Help was requested and has been printed.
    """
    task = _task_named(arguments)
    given = train_parser(task).parse_args(list(arguments))
    settings = {name: value for name, value in vars(given).items() if name not in ("config", "dry_run", "json", "help")}
    if not settings["data"]:
        del settings["data"]
    _, known = gather(given.config, settings)
    if given.help and not known.get("data"):
        sys.stdout.write(train_parser(task).format_help())
        raise SystemExit(0)
    if not known.get("data"):
        raise ValueError(f"DATA is missing; expected {', '.join(BUILT_IN)}, a path, or module:attribute")
    with loading() as progress:
        dataset = load_data(known, progress)
    config = configure(dataset=dataset, **known)
    if given.help:
        sys.stdout.write(train_parser(task, config, known["data"]).format_help())
        raise SystemExit(0)
    return config, dataset, given


def _task_named(arguments: Sequence[str]) -> Any:
    """The task that a command line selects, by --task, its preset or its file; it decides which options exist."""
    parser = Parser("gpgan train", "")
    parser.add_argument("--task", dest=TASK, default=argparse.SUPPRESS)
    parser.add_argument("--preset", default=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, default=None)
    named = vars(parser.parse_known_args(list(arguments))[0])
    file = named.pop("config")
    return task_of({**({} if file is None else read_file(file)), **named})
