"""The settings of a run as a tree of frozen dataclasses, from which the command line and its help are made.

``RunConfig`` has the settings of every task, ``AdversarialConfig`` those of tasks that train against a critic; a task
adds its own. An existing tree is valid: each class checks its own fields. ``options`` lists the fields with dotted
names.
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
# The longest file name, in bytes, that common file systems allow.
NAME_MAX = 255


# The Python types that a setting's value may have, and what errors call them.
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
    """A number x with least <= x < below; with ``above``, least < x < below."""
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
        allowed = TYPES.get(types[each.name])
        if allowed and (not isinstance(value, allowed) or (isinstance(value, bool) and types[each.name] is not bool)):
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
    """The gradient penalty: weight * mean((|gradient| - target)^2) over some points."""

    weight: float = number(10.0, "lambda in the paper; half of R1's gamma; 0: no penalty", 0)
    target: float = number(1.0, "target gradient norm", 0)
    points: Literal["between", "real", "fake", "both", "noisy"] = text(
        "between", "between, real (R1), fake (R2), both, or noisy (DRAGAN)", "P"
    )
    one_sided: bool = switch("penalise only norms above the target")
    lazy: int = whole(1, "only every N-th critic step, with N times the weight", 1)

    def __post_init__(self) -> None:
        check(self, "penalty.")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer; both networks use the same settings."""

    kind: Literal["adam", "rmsprop", "sgd"] = text("adam", "adam, rmsprop or sgd", "KIND")
    lr: float = number(1e-3, "initial learning rate", 0, above=True)
    schedule: Literal["constant", "inverse-sqrt", "linear", "cosine"] = text(
        "constant", "constant, inverse-sqrt, or linear or cosine decay to 0 at --steps", "S"
    )
    beta1: float = number(0.0, "adam: decay of the gradient's mean; sgd: momentum", 0, 1)
    beta2: float = number(0.9, "adam, rmsprop: decay of the gradient's square", 0, 1)
    clip: float = number(0.0, "clip the norm of each network's gradient to X; 0: no clipping", 0)

    def __post_init__(self) -> None:
        check(self, "optimizer.")


@dataclass(frozen=True)
class TaskConfig:
    """What is trained; a task adds its own options here."""

    name: str = text("", "what is trained", "NAME")

    def __post_init__(self) -> None:
        check(self, "task.")


@dataclass(frozen=True)
class RunConfig:
    """A training run of any task. ``gpgan.configure`` makes one, from the defaults for its data and a preset.

    ``preset`` is only a record of the preset's name; ``configure`` applies its settings.
    """

    data: str = text("", "a built-in name, a path or module:attribute", "DATA")
    preset: str = text("auto", "the settings of a paper", "NAME")
    steps: int = whole(20_000, "total steps, of the generator", 1)
    minutes: float = number(0.0, "stop after this many minutes, saved; 0: no limit", 0)
    seed: int = whole(0, "random seed; same seed, same run, bit for bit on a CPU", 0)
    batch: int = whole(64, "samples per step, over all processes", 2)
    out: Path = field(default=Path("runs"), metadata=about("folder of all runs", "DIR"))
    name: str | None = field(default=None, metadata=about("name of this run's folder, instead of NUMBER-DATA", "NAME"))
    device: str = text("auto", "auto, cpu, cuda or cuda:N", "D")
    size: int = whole(0, "side in pixels to resize images to; 0: chosen from the data", 0, 4096)
    precision: Literal["fp32", "bf16", "fp16"] = text(
        "fp32", "fp32, or bf16 or fp16 by autocast; the penalty stays fp32", "P"
    )
    deterministic: bool = switch("GPU: refuse nondeterministic operators")
    impl: Literal["auto", "native", "reference"] = text(
        "auto", "the penalty's operators: auto, native or reference", "I"
    )
    threads: int = whole(0, "CPU threads; 0: torch's default", 0)
    tick: int = whole(25, "steps between lines of statistics", 1)
    snapshot: int = whole(500, "steps between pictures", 1)
    checkpoint: int = whole(500, "steps between checkpoints", 1)
    keep: int = whole(0, "keep the checkpoint of every N-th step permanently; 0: none", 0)
    task: TaskConfig = field(default_factory=TaskConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        check(self)
        if self.keep % self.checkpoint:
            raise ValueError(
                f"keep is {self.keep} and checkpoint is {self.checkpoint}; expected keep to be a multiple of checkpoint"
            )
        if self.name is not None and (
            self.name in ("", ".", "..")
            or set(self.name) & set("/\\")
            or not self.name.isprintable()
            or len(os.fsencode(self.name)) > NAME_MAX
        ):
            raise ValueError(f"name is {self.name!r}; expected a single folder name; --out sets its parent")


@dataclass(frozen=True)
class AdversarialConfig(RunConfig):
    """A run of a task that trains a generator against a critic."""

    objective: str = text("wasserstein", "the loss of critic and generator", "NAME")
    n_critic: int = whole(3, "critic steps per generator step", 1)
    weight_clip: float = number(0.0, "clip the critic's weights to [-X, X]; 0: no clipping", 0)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        objectives.get(self.objective)
        if self.weight_clip and self.penalty.weight:
            raise ValueError(
                f"weight-clip is {self.weight_clip:g} and penalty.weight is {self.penalty.weight:g}: two ways to "
                "regularise the critic; expected one of them, e.g. --penalty.weight 0"
            )


def options(tree: type, prefix: str = "") -> Iterator[tuple[str, Field[Any], Any]]:
    """(dotted name, field, type) of every setting, e.g. ``penalty.one_sided``."""
    types = get_type_hints(tree)
    for each in fields(tree):
        if isinstance(types[each.name], type) and hasattr(types[each.name], "__dataclass_fields__"):
            yield from options(types[each.name], f"{prefix}{each.name}.")
        else:
            yield prefix + each.name, each, types[each.name]
