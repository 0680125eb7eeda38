"""Everything a run depends on, as one tree of frozen dataclasses; the command line is generated from it.

The string under each field is its help text. A tree that exists is valid: each class checks its own fields.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gpgan.data import Dataset

INT64_MAX = 2**63 - 1
# Bytes of a file name that every usual file system takes.
NAME_MAX = 255
# A sample of at most so many numbers, 3 x 8 x 8, is small.
SMALL = 192


def _at_least(name: str, value: float, least: float) -> None:
    if not least <= value < math.inf:
        raise ValueError(f"{name} is {value}; wanted a finite number, {least} or above")


def _count(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}; wanted a whole number from {least} to {most}")


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value < high:
        raise ValueError(f"{name} is {value}; wanted a number from {low} to below {high}")


@dataclass(frozen=True)
class NetworkConfig:
    """Generator and critic."""

    kind: Literal["auto", "mlp", "conv"] = "auto"
    """auto: conv for images, mlp for vectors and tiny images"""
    latent: int = 64
    """numbers that a sample is made from"""
    width: int = 0
    """conv: channels at full size; mlp: hidden units; 0: 32 or 256"""
    depth: int = 3
    """mlp: hidden layers"""

    def __post_init__(self) -> None:
        for name, least, most in (("latent", 1, 65536), ("width", 0, 8192), ("depth", 1, 32)):
            _count(f"network.{name}", getattr(self, name), least, most)


@dataclass(frozen=True)
class PenaltyConfig:
    """The gradient penalty: weight * mean((|gradient| - target)^2)."""

    weight: float = 10.0
    """lambda of the paper"""
    target: float = 1.0
    """wanted gradient norm"""
    one_sided: bool = False
    """penalise only norms above the target"""
    lazy: int = 1
    """only at every k-th critic step, with k times the weight"""

    def __post_init__(self) -> None:
        for name in ("weight", "target"):
            _at_least(f"penalty.{name}", getattr(self, name), 0)
        _count("penalty.lazy", self.lazy, 1, INT64_MAX)


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam, for both networks."""

    lr: float = 1e-3
    """learning rate at the first step"""
    decay: bool = True
    """lower the learning rate linearly to 0 at the last step"""
    beta1: float = 0.0
    """memory of the gradient's mean"""
    beta2: float = 0.9
    """memory of the gradient's square"""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"optimizer.lr is {self.lr}; wanted a finite number above 0")
        for name in ("beta1", "beta2"):
            _between(f"optimizer.{name}", getattr(self, name), 0, 1)


@dataclass(frozen=True)
class Config:
    """A training run."""

    data: str
    """digits, ring, or the path of a .npy file"""
    steps: int = 2500
    """generator steps"""
    seed: int = 0
    """same seed, same run: bit for bit on a CPU"""
    batch: int = 64
    """samples a step"""
    out: Path = Path("runs")
    """folder that holds the runs"""
    name: str | None = None
    """folder of this run, in place of a number and the data's name"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    impl: Literal["auto", "native", "reference"] = "auto"
    """the penalty's operators: native kernels or plain PyTorch"""
    threads: int = 0
    """CPU threads; 0: as many as torch takes"""
    n_critic: int = 3
    """critic steps a generator step"""
    tick: int = 25
    """steps between two lines of stats.jsonl"""
    snapshot: int = 500
    """steps between two pictures"""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "n_critic", "tick", "snapshot"):
            _count(name.replace("_", "-"), getattr(self, name), 1, INT64_MAX)
        if self.penalty.lazy > self.tick * self.n_critic:
            raise ValueError(
                f"penalty.lazy is {self.penalty.lazy} and a line of statistics covers {self.tick * self.n_critic} critic "
                f"steps (--tick times --n-critic), of which one must have a penalty; wanted at most as many"
            )
        _count("threads", self.threads, 0, os.cpu_count() or 1)
        # A BatchNorm cannot normalise one sample.
        _count("batch", self.batch, 2, INT64_MAX)
        _count("seed", self.seed, 0, INT64_MAX)
        if self.name is not None and (
            self.name in ("", ".", "..")
            or set(self.name) & set("/\\")
            or not self.name.isprintable()
            or len(os.fsencode(self.name)) > NAME_MAX
        ):
            raise ValueError(f"name is {self.name!r}; wanted the name of one folder; its parent is given by --out")


def preset(data: str, dataset: Dataset) -> Config:
    """The defaults for a data set: by the shape of its samples, tuned on digits and ring."""
    count, numbers = len(dataset.samples), math.prod(dataset.shape)
    # A second thread makes such small networks hardly faster, and many times slower where another program has the core.
    threads = 1 if numbers <= SMALL else 0
    if len(dataset.shape) == 1:
        return Config(
            data,
            steps=2500,
            batch=max(2, min(256, count)),
            n_critic=5,
            threads=threads,
            # Few latents: a generator of 64 has to fold far more of its space away to separate modes of a plane.
            network=NetworkConfig(latent=max(2, numbers), width=128),
            # Modes lie close to each other, in units of the critic's slope: with 10 the valleys between them stay shallow.
            penalty=PenaltyConfig(weight=0.1),
        )
    batch = max(2, min(Config.batch, count))
    if numbers <= SMALL:
        network, optimizer = NetworkConfig(latent=16), OptimizerConfig(lr=2e-3)
        return Config(data, batch=batch, steps=4500, threads=threads, network=network, optimizer=optimizer)
    return Config(data, batch=batch)
