"""Everything a run depends on, as one tree of frozen dataclasses, from which the command line and its help are made.

A tree that exists is valid: each class checks its own fields. ``options`` lists the fields with their dotted names.
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


def _about(help: str, metavar: str) -> dict[str, Any]:
    return {"help": help, "metavar": metavar}


def _text(default: Any, help: str, metavar: str = "") -> Any:
    return field(default=default, metadata=_about(help, metavar))


def _whole(default: int, help: str, least: int, most: int = INT64_MAX) -> Any:
    return field(default=default, metadata={"help": help, "metavar": "N", "least": least, "most": most})


def _number(default: float, help: str, least: float, below: float = math.inf, above: bool = False) -> Any:
    """A number from ``least``, which itself is excluded where ``above``, to below ``below``."""
    limits = {"least": least, "below": below, "above": above}
    return field(default=default, metadata={"help": help, "metavar": "X", **limits})


def _check(tree: Any, prefix: str = "") -> None:
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
class NetworkConfig:
    """Generator and critic."""

    kind: Literal["auto", "mlp", "conv", "resnet"] = _text(
        "auto", "mlp, conv (DCGAN), resnet, or mlp or conv by size", "KIND"
    )
    latent: int = _whole(64, "numbers that a sample is made from", 1, 65536)
    width: int = _whole(0, "channels at full size; mlp: hidden units; 0: by kind", 0, 8192)
    depth: int = _whole(3, "mlp: hidden layers", 1, 32)
    critic_depth: int = _whole(0, "mlp: those of the critic; 0: as many", 0, 32)
    norm: Literal["none", "batch", "layer"] = _text("none", "the critic's normalisation: none, batch or layer", "NORM")
    spectral_norm: bool = _text(False, "spectral normalisation of the critic")
    ema: float = _number(0.999, "decay of the averaged generator, which samples; 0: none", 0, 1)
    generator: str = _text("", "module:attribute of your own, called with latent=, shape=", "M:A")
    critic: str = _text("", "module:attribute of your own, called with shape=", "M:A")

    def __post_init__(self) -> None:
        _check(self, "network.")


@dataclass(frozen=True)
class PenaltyConfig:
    """The gradient penalty: weight * mean((|gradient| - target)^2) at some points."""

    weight: float = _number(10.0, "lambda of the paper; half of R1's gamma; 0: no penalty", 0)
    target: float = _number(1.0, "expected gradient norm", 0)
    points: Literal["between", "real", "fake", "both", "noisy"] = _text(
        "between", "between, real (R1), fake (R2), both, or noisy (DRAGAN)", "P"
    )
    one_sided: bool = _text(False, "penalise only norms above the target")
    lazy: int = _whole(1, "only at every N-th critic step, with N times the weight", 1)

    def __post_init__(self) -> None:
        _check(self, "penalty.")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, of the same kind for both networks."""

    kind: Literal["adam", "rmsprop", "sgd"] = _text("adam", "adam, rmsprop or sgd", "KIND")
    lr: float = _number(1e-3, "learning rate at the first step", 0, above=True)
    schedule: Literal["constant", "linear", "cosine"] = _text(
        "constant", "constant, linear or cosine; the last two reach 0 at --steps", "S"
    )
    beta1: float = _number(0.0, "adam: memory of the gradient's mean; sgd: momentum", 0, 1)
    beta2: float = _number(0.9, "adam, rmsprop: memory of the gradient's square", 0, 1)
    clip: float = _number(0.0, "largest norm of a network's gradient; 0: any", 0)

    def __post_init__(self) -> None:
        _check(self, "optimizer.")


@dataclass(frozen=True)
class Config:
    """A training run. ``gpgan.configure`` makes one with the defaults for its data and a preset's settings.

    ``preset`` is only the name under which a run's settings are recorded: the settings are ``configure``'s.
    """

    data: str = _text("", "a name, a path or module:attribute", "DATA")
    preset: str = _text("auto", "a paper's settings", "NAME")
    objective: str = _text("wasserstein", "what critic and generator minimise", "NAME")
    steps: int = _whole(20_000, "generator steps in all", 1)
    minutes: float = _number(0.0, "stop after so many minutes, saved; 0: no limit", 0)
    seed: int = _whole(0, "same seed, same run: bit for bit on a CPU", 0)
    batch: int = _whole(64, "samples a step, over all processes", 2)
    out: Path = field(default=Path("runs"), metadata=_about("folder that holds the runs", "DIR"))
    name: str | None = field(default=None, metadata=_about("folder of this run, in place of NUMBER-DATA", "NAME"))
    device: str = _text("auto", "auto, cpu, cuda or cuda:N", "D")
    size: int = _whole(0, "pixels a side that images are brought to; 0: by the data", 0, 4096)
    conditional: bool = _text(False, "train with the data's labels")
    precision: Literal["fp32", "bf16", "fp16"] = _text(
        "fp32", "fp32, or by autocast bf16 or fp16, whose penalty is fp32", "P"
    )
    deterministic: bool = _text(False, "refuse operators whose results vary from run to run (GPU)")
    impl: Literal["auto", "native", "reference"] = _text("auto", "the penalty's operators: native or reference", "I")
    threads: int = _whole(0, "CPU threads; 0: as many as torch takes", 0)
    n_critic: int = _whole(3, "critic steps a generator step", 1)
    weight_clip: float = _number(0.0, "the critic's weights stay within +-X; 0: any", 0)
    pack: int = _whole(1, "samples that the critic sees at once (PacGAN)", 1)
    tick: int = _whole(25, "steps between two lines of statistics", 1)
    snapshot: int = _whole(500, "steps between two pictures", 1)
    checkpoint: int = _whole(500, "steps between two checkpoints", 1)
    keep: int = _whole(0, "keep the checkpoint of every N-th step for good; 0: none", 0)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        _check(self)
        objectives.get(self.objective)
        self._check_constraints()
        if self.penalty.weight and self.penalty.lazy > self.tick * self.n_critic:
            raise ValueError(
                f"penalty.lazy is {self.penalty.lazy} and a line of statistics covers {self.tick * self.n_critic} critic "
                f"steps (--tick times --n-critic), of which one must have a penalty; expected at most as many"
            )
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

    def _check_constraints(self) -> None:
        """Raises where two settings contradict each other."""
        if self.weight_clip and self.penalty.weight:
            raise ValueError(
                f"weight-clip is {self.weight_clip:g} and penalty.weight is {self.penalty.weight:g}: two ways to hold the "
                "critic back; expected one of them, e.g. --penalty.weight 0"
            )
        if self.weight_clip and self.network.spectral_norm:
            raise ValueError(
                f"weight-clip is {self.weight_clip:g} and network.spectral-norm is on: the weights are divided by their "
                "norm whatever their size; expected one of them"
            )
        if self.pack > 1 and self.conditional:
            raise ValueError(
                f"pack is {self.pack} and conditional is on: a pack's samples have no common label; expected one of them"
            )
        if self.batch % self.pack:
            raise ValueError(f"pack is {self.pack} and batch is {self.batch}; expected a batch that it divides")
        if self.network.critic and (self.network.norm != "none" or self.network.critic_depth):
            raise ValueError(
                f"network.critic is {self.network.critic!r} and network.norm or network.critic-depth is given, which are "
                "of gpgan's own critics; expected one of them"
            )


def options(tree: type = Config, prefix: str = "") -> Iterator[tuple[str, Field[Any], Any]]:
    """(dotted name, field, type) of every setting, e.g. ``penalty.one_sided``."""
    types = get_type_hints(tree)
    for each in fields(tree):
        if isinstance(types[each.name], type) and hasattr(types[each.name], "__dataclass_fields__"):
            yield from options(types[each.name], f"{prefix}{each.name}.")
        else:
            yield prefix + each.name, each, types[each.name]
