"""The critics of the benchmark, as a script would write them, and the cases made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
# A script's hyperparameters: the penalty's weight, and Adam's.
WEIGHT, LR, BETAS = 10.0, 1e-4, (0.0, 0.9)


def mlp(width: int) -> nn.Sequential:
    """Points [B, 2] to scores [B, 1] through three hidden layers."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((2, width, width, width, 1)):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


def dcgan(channels: int) -> nn.Sequential:
    """Images [B, 3, 64, 64] to scores [B, 1] through four convolutions that halve the sides."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((3, channels, 2 * channels, 4 * channels, 8 * channels)):
        layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * channels * 4 * 4, 1))


class Block(nn.Module):
    """A residual block, [B, C, H, W] to [B, channels, H, W], or to [B, channels, H/2, W/2] if it pools."""

    def __init__(self, inputs: int, channels: int, *, first: bool = False, pool: bool = False) -> None:
        super().__init__()
        self.first, self.pool = first, pool
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, channels, 1) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.pool:
            return x + y
        # The first block pools before its shortcut's convolution, the second after it; the result is the same.
        shortcut = self.shortcut(F.avg_pool2d(x, 2)) if self.first else F.avg_pool2d(self.shortcut(x), 2)
        return shortcut + F.avg_pool2d(y, 2)


class ResNet(nn.Module):
    """The CIFAR-10 critic of the WGAN-GP paper (arXiv 1704.00028, appendix C): [B, 3, 32, 32] to [B, 1], no normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            Block(3, channels, first=True, pool=True),
            Block(channels, channels, pool=True),
            Block(channels, channels),
            Block(channels, channels),
        )
        self.linear = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear(F.relu(self.blocks(x)).mean((2, 3)))
        return scores


@dataclass(frozen=True)
class Case:
    """A critic with its batch. ``precision`` is float32, tf32 or bfloat16; the parameters are float32 in all three."""

    critic: str
    make: Callable[[int], nn.Module]
    width: int
    sample: tuple[int, ...]
    batch: int
    precision: str = "float32"
    bfloat16_too: bool = False  # further rows under autocast, compared with the float32 ones

    @property
    def name(self) -> str:
        return f"{self.critic}, B {self.batch}" + (f", {self.precision}" if self.precision != "float32" else "")


def _cases(*, dcgan_width: int, images: int, resnet_images: int, resnet_width: int) -> tuple[Case, ...]:
    return (
        Case("MLP 64", mlp, 64, (2,), 64),
        Case("MLP 512", mlp, 512, (2,), 256),
        Case(f"DCGAN {dcgan_width}", dcgan, dcgan_width, (3, 64, 64), images),
        Case(f"ResNet {resnet_width}", ResNet, resnet_width, (3, 32, 32), resnet_images),
    )


def cases(device: str, quick: bool) -> list[Case]:
    """On a CPU float32, and bfloat16 too for the DCGAN critic; on a GPU every critic in every precision."""
    if quick:
        chosen = _cases(dcgan_width=4, images=2, resnet_images=2, resnet_width=4)
    elif device == "cpu":
        chosen = _cases(dcgan_width=32, images=32, resnet_images=8, resnet_width=128)
    else:
        chosen = _cases(dcgan_width=64, images=64, resnet_images=64, resnet_width=128)
    if device == "cpu":
        return [dataclasses.replace(case, bfloat16_too=case.make is dcgan) for case in chosen]
    # Cases with targets come first, because time may run out.
    ordered = [chosen[0], dataclasses.replace(chosen[2], precision="bfloat16")]
    ordered += [
        dataclasses.replace(case, precision=precision)
        for precision in ("float32", "tf32", "bfloat16")
        for case in chosen
    ]
    return list(dict.fromkeys(ordered))


@dataclass
class Problem:
    """One provider's own critic and its data."""

    case: Case
    net: nn.Module
    real: Tensor  # [B, ...]
    fake: Tensor  # [B, ...]
    precision: str

    @property
    def device(self) -> str:
        return self.real.device.type


def make_problem(case: Case, device: str, precision: str) -> Problem:
    """The same numbers for every provider. precision: also float64, for the gradients that all are held to."""
    dtype = torch.float64 if precision == "float64" else torch.float32
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = case.make(case.width)
        real = torch.randn(case.batch, *case.sample)
        fake = torch.randn(case.batch, *case.sample) + 1
    return Problem(case, net.to(device, dtype), real.to(device, dtype), fake.to(device, dtype), precision)
