"""The settings of the task ``generation``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gpgan.settings.config import AdversarialConfig, TaskConfig, check, number, switch, text, whole


@dataclass(frozen=True)
class NetworkConfig:
    """The generator and the critic."""

    kind: Literal["auto", "mlp", "conv", "resnet"] = text(
        "auto", "mlp, conv (DCGAN), resnet, or auto: mlp or conv by size", "KIND"
    )
    latent: int = whole(64, "size of the latent vectors", 1, 65536)
    width: int = whole(0, "channels at full size; mlp: hidden units; 0: by network.kind", 0, 8192)
    depth: int = whole(3, "mlp: hidden layers", 1, 32)
    critic_depth: int = whole(0, "mlp: hidden layers of the critic; 0: as depth", 0, 32)
    norm: Literal["none", "batch", "layer"] = text("none", "the critic's normalisation: none, batch or layer", "NORM")
    spectral_norm: bool = switch("spectral normalisation of the critic")
    ema: float = number(0.999, "decay of the generator's average, used to sample; 0: none", 0, 1)
    generator: str = text("", "your own module:attribute, called with latent=, shape=", "M:A")
    critic: str = text("", "your own module:attribute, called with shape=", "M:A")

    def __post_init__(self) -> None:
        check(self, "network.")


@dataclass(frozen=True)
class GenerationConfig(TaskConfig):
    """Only the name: generation's settings are in the other trees."""

    name: str = text("generation", "what is trained", "NAME")


@dataclass(frozen=True)
class Config(AdversarialConfig):
    """A run that trains a generator from latents to samples. ``gpgan.configure`` makes one."""

    conditional: bool = switch("condition on the data's labels")
    pack: int = whole(1, "samples that the critic sees at once (PacGAN)", 1)
    eval: int = whole(0, "steps between evaluations, which choose the best checkpoint; 0: none", 0)
    task: GenerationConfig = field(default_factory=GenerationConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_clip and self.network.spectral_norm:
            raise ValueError(
                f"weight-clip is {self.weight_clip:g} and network.spectral-norm is on: spectral normalisation rescales "
                "the weights whatever their size; expected one of them"
            )
        if self.pack > 1 and self.conditional:
            raise ValueError(
                f"pack is {self.pack} and conditional is on: the samples of a pack have different labels; expected one of them"
            )
        if self.batch % self.pack:
            raise ValueError(
                f"pack is {self.pack} and batch is {self.batch}; expected a batch that is a multiple of {self.pack}"
            )
        if self.network.critic and (self.network.norm != "none" or self.network.critic_depth):
            raise ValueError(
                f"network.critic is {self.network.critic!r} and network.norm or network.critic-depth is given, which "
                "apply only to gpgan's own critics; expected one of them"
            )
