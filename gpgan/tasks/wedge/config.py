"""The settings of the tasks that restore the missing wedge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gpgan.settings.config import AdversarialConfig, RunConfig, TaskConfig, check, number, text, whole
from gpgan.wedge.mask import Wedge


@dataclass(frozen=True)
class ObservedConfig(TaskConfig):
    """How the data was observed; all tasks of this folder have these settings."""

    tilt_min: float = number(-90.0, "smallest tilt in degrees", -90.0, 90.0)
    tilt_max: float = number(90.0, "largest tilt in degrees", -90.0, 90.1)
    axis: Literal["x", "y", "z"] = text("y", "the tilt axis: x, y or z", "A")
    voxel: float = number(0.0, "voxel size in angstroms; 0: from the files", 0)
    defocus: float = number(0.0, "a CTF with this defocus in micrometres, at 300 kV; 0: none", 0)
    odd: str = text("", "the odd halves, if the data is the even ones: a path like the data's", "PATH")
    truth: str = text("", "the truth of simulated data: a path with the same file names", "PATH")

    @property
    def wedge(self) -> Wedge:
        return Wedge(self.tilt_min, self.tilt_max, self.axis)


@dataclass(frozen=True)
class SharedConfig(ObservedConfig):
    """Volumes that all particles share."""

    volumes: int = whole(1, "K: volumes, one for each structure", 1, 64)
    masses: Literal["equal", "free"] = text("equal", "share of each volume: equal, or free to be learnt", "M")
    poses: int = whole(128, "random poses to compare at each step, besides a particle's own", 1, 100_000)
    gamma: float = number(1.0, "cryowgen: the temperature of the entropic plan", 0, above=True)
    plan: Literal["exact", "minibatch"] = text(
        "exact", "cryogen-2: exact (free poses), or minibatch (uniform poses)", "P"
    )


@dataclass(frozen=True)
class SharedRunConfig(RunConfig):
    """A run that fits shared volumes by transport plans: CryoGEN-II and CryoWGEN."""

    task: SharedConfig = field(default_factory=SharedConfig)


@dataclass(frozen=True)
class CriticConfig(ObservedConfig):
    """Volumes that all particles share, fitted against a critic."""

    volumes: int = whole(1, "K: volumes, one for each structure", 1, 64)
    ball: float = number(0.85, "share of the largest ball that the critic sees", 0, 1.0001, above=True)


@dataclass(frozen=True)
class CriticNetworkConfig:
    """The critic of three-dimensional convolutions."""

    critic_width: int = whole(8, "the critic's channels at full size", 1, 1024)

    def __post_init__(self) -> None:
        check(self, "network.")


@dataclass(frozen=True)
class CriticRunConfig(AdversarialConfig):
    """A run that fits shared volumes against a critic: CryoGEN-I."""

    task: CriticConfig = field(default_factory=CriticConfig)
    network: CriticNetworkConfig = field(default_factory=CriticNetworkConfig)


@dataclass(frozen=True)
class AmortisedConfig(ObservedConfig):
    """A network from an observation to its volume."""

    mu: float = number(0.1, "weight of the distance of re-degraded volumes to observations", 0)
    equivariance: float = number(1.0, "weight of the equivariance term; 0: none", 0)
    teacher: str = text("", "a run of shared volumes to distil", "RUN")
    distil: float = number(1.0, "weight of the distance to the teacher's volumes", 0)
    ball: float = number(0.85, "share of the largest ball that particles fill; 0: all of a tile", 0, 1.0001)


@dataclass(frozen=True)
class UNetConfig:
    """The U-Net and the critic."""

    width: int = whole(12, "the U-Net's channels at full size", 1, 256)
    depth: int = whole(2, "how often the U-Net halves the sides", 1, 6)
    critic_width: int = whole(8, "the critic's channels at full size", 1, 1024)
    ema: float = number(0.99, "decay of the network's average, used to restore; 0: none", 0, 1)

    def __post_init__(self) -> None:
        check(self, "network.")


@dataclass(frozen=True)
class AmortisedRunConfig(AdversarialConfig):
    """A run that trains a network to restore."""

    task: AmortisedConfig = field(default_factory=AmortisedConfig)
    network: UNetConfig = field(default_factory=UNetConfig)
