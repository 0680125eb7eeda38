"""The settings of a run as a tree of frozen dataclasses, from which the command line and its help are made.

``RunConfig`` has what every task has, ``AdversarialConfig`` what those have that train against a critic; a task adds its own
fields. A tree that exists is valid: each class checks its own fields. ``options`` lists the fields with dotted names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from gpgan import objectives
from gpgan.util.nearest import nearest

INT64_MAX = 2**63 - 1
# Bytes of a file name that every usual file system takes.
NAME_MAX = 255


# What values of a setting's type may be, and how that is called.
TYPES: dict[Any, Any] = {int: int, float: int | float, bool: bool, str: str, Path: Path, str | None: str | None}
NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    str: "text",
    str | None: "text",
}


def about(help: str, metavar: str) -> dict[str, Any]:
    return {"help": help, "metavar": metavar}


def text(default: str | None, help: str, metavar: str) -> Any:
    return field(default=default, metadata=about(help, metavar))


def switch(help: str) -> Any:
    return field(default=False, metadata=about(help, ""))


def whole(default: int, help: str, least: int, most: int = INT64_MAX) -> Any:
    return field(default=default, metadata={"help": help, "metavar": "N", "least": least, "most": most})


def number(default: float, help: str, least: float, below: float = math.inf, above: bool = False) -> Any:
    """A number from ``least``, which itself is excluded where ``above``, to below ``below``."""
    limits = {"least": least, "below": below, "above": above}
    return field(default=default, metadata={"help": help, "metavar": "X", **limits})


def check(tree: Any, prefix: str = "") -> None:
    types = get_type_hints(type(tree))
    for each in fields(tree):
        name, value, limits = prefix + each.name.replace("_", "-"), getattr(tree, each.name), each.metadata
        choices = get_args(types[each.name]) if each.type and str(each.type).startswith("Literal") else ()
        if choices and value not in choices:
            raise ValueError(
                f"{name} is {value!r}; expected {' or '.join(map(str, choices))}{nearest(str(value), choices)}"
            )
        kinds = TYPES.get(types[each.name])
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and types[each.name] is not bool)):
            raise ValueError(f"{name} is {value!r}; expected {NAMES[types[each.name]]}")
        if "most" in limits and not limits["least"] <= value <= limits["most"]:
            raise ValueError(f"{name} is {value}; expected a whole number from {limits['least']} to {limits['most']}")
        if "below" in limits:
            low, high = limits["least"], limits["below"]
            if not low <= value < high or (limits["above"] and value == low):
                wanted = f"above {low}" if limits["above"] else f"{low} or above"
                most = f", below {high}" if high < math.inf else ""
                raise ValueError(f"{name} is {value}; expected a finite number, {wanted}{most}")


@dataclass(frozen=True)
class PenaltyConfig:
    """The gradient penalty: weight * mean((|gradient| - target)^2) at some points."""

    weight: float = number(10.0, "lambda of the paper; half of R1's gamma; 0: no penalty", 0)
    target: float = number(1.0, "target gradient norm", 0)
    points: Literal["between", "real", "fake", "both", "noisy"] = text(
        "between", "between, real (R1), fake (R2), both, or noisy (DRAGAN)", "P"
    )
    one_sided: bool = switch("penalise only norms above the target")
    lazy: int = whole(1, "only at every N-th critic step, with N times the weight", 1)

    def __post_init__(self) -> None:
        check(self, "penalty.")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, of the same kind for both networks."""

    kind: Literal["adam", "rmsprop", "sgd"] = text("adam", "adam, rmsprop or sgd", "KIND")
    lr: float = number(1e-3, "learning rate at the first step", 0, above=True)
    schedule: Literal["constant", "linear", "cosine"] = text(
        "constant", "constant, linear or cosine; the last two reach 0 at --steps", "S"
    )
    beta1: float = number(0.0, "adam: memory of the gradient's mean; sgd: momentum", 0, 1)
    beta2: float = number(0.9, "adam, rmsprop: memory of the gradient's square", 0, 1)
    clip: float = number(0.0, "largest norm of a network's gradient; 0: any", 0)

    def __post_init__(self) -> None:
        check(self, "optimizer.")


@dataclass(frozen=True)
class TaskConfig:
    """What is trained; a task with options of its own adds them here."""

    name: str = text("", "what is trained", "NAME")

    def __post_init__(self) -> None:
        check(self, "task.")


@dataclass(frozen=True)
class RunConfig:
    """A training run of any task. ``gpgan.configure`` makes one, with the defaults for its data and a preset's settings.

    ``preset`` is only the name under which a run's settings are recorded: the settings are ``configure``'s.
    """

    data: str = text("", "a name, a path or module:attribute", "DATA")
    preset: str = text("auto", "a paper's settings", "NAME")
    steps: int = whole(20_000, "generator steps in all", 1)
    minutes: float = number(0.0, "stop after this many minutes, saved; 0: no limit", 0)
    seed: int = whole(0, "same seed, same run: bit for bit on a CPU", 0)
    batch: int = whole(64, "samples per step, over all processes", 2)
    out: Path = field(default=Path("runs"), metadata=about("folder that holds the runs", "DIR"))
    name: str | None = field(default=None, metadata=about("folder of this run, in place of NUMBER-DATA", "NAME"))
    device: str = text("auto", "auto, cpu, cuda or cuda:N", "D")
    size: int = whole(0, "side in pixels that images are resized to; 0: by the data", 0, 4096)
    precision: Literal["fp32", "bf16", "fp16"] = text(
        "fp32", "fp32, or by autocast bf16 or fp16, whose penalty is fp32", "P"
    )
    deterministic: bool = switch("refuse operators whose results vary from run to run (GPU)")
    impl: Literal["auto", "native", "reference"] = text("auto", "the penalty's operators: native or reference", "I")
    threads: int = whole(0, "CPU threads; 0: torch's default", 0)
    tick: int = whole(25, "steps between two lines of statistics", 1)
    snapshot: int = whole(500, "steps between two pictures", 1)
    checkpoint: int = whole(500, "steps between two checkpoints", 1)
    keep: int = whole(0, "keep the checkpoint of every N-th step for good; 0: none", 0)
    task: TaskConfig = field(default_factory=TaskConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        check(self)
        if self.keep % self.checkpoint:
            raise ValueError(
                f"keep is {self.keep} and checkpoint is {self.checkpoint}; expected a multiple of it, as only checkpoints "
                f"that are made can be kept"
            )
        if self.name is not None and (
            self.name in ("", ".", "..")
            or set(self.name) & set("/\\")
            or not self.name.isprintable()
            or len(os.fsencode(self.name)) > NAME_MAX
        ):
            raise ValueError(f"name is {self.name!r}; expected the name of one folder; its parent is given by --out")


@dataclass(frozen=True)
class AdversarialConfig(RunConfig):
    """A run of a task that trains a generator against a critic."""

    objective: str = text("wasserstein", "what critic and generator minimise", "NAME")
    n_critic: int = whole(3, "critic steps per generator step", 1)
    weight_clip: float = number(0.0, "clip the critic's weights to [-X, X]; 0: no clipping", 0)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        objectives.get(self.objective)
        if self.weight_clip and self.penalty.weight:
            raise ValueError(
                f"weight-clip is {self.weight_clip:g} and penalty.weight is {self.penalty.weight:g}: two ways to hold the "
                "critic back; expected one of them, e.g. --penalty.weight 0"
            )
        if self.penalty.weight and self.penalty.lazy > self.tick * self.n_critic:
            raise ValueError(
                f"penalty.lazy is {self.penalty.lazy} and a line of statistics covers {self.tick * self.n_critic} critic "
                f"steps (--tick times --n-critic), of which one must have a penalty; expected at most as many"
            )


def options(tree: type, prefix: str = "") -> Iterator[tuple[str, Field[Any], Any]]:
    """(dotted name, field, type) of every setting, e.g. ``penalty.one_sided``."""
    types = get_type_hints(tree)
    for each in fields(tree):
        if isinstance(types[each.name], type) and hasattr(types[each.name], "__dataclass_fields__"):
            yield from options(types[each.name], f"{prefix}{each.name}.")
        else:
            yield prefix + each.name, each, types[each.name]
