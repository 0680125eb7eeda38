"""DCGAN for signals, images and volumes of any size.

DCGAN (Radford et al., arXiv 1511.06434) has no pooling and no hidden dense layer: strided convolutions halve the size in
the critic, transposed convolutions double it in the generator, with BatchNorm between the layers. Differences here:

- Kernels of 4, not 5, so that every pixel a transposed convolution makes is a sum of equally many products; kernels of
  3 where a side is odd.
- A convolution of stride 1 at the full size comes first in the critic and last in the generator.
- LeakyReLU in the generator too; the paper has ReLU.
- No BatchNorm in the critic, unless norm is "batch", as in the paper.
- ``width`` channels at the full size, at most 8 times as many below; the paper's generator of 64x64 pixels has 128
  channels at 32x32, 1024 at 4x4.
- Initial weights from ``initialise``, not of standard deviation 0.02.

Both networks use the same ladder of sizes, each about half of the previous one, down to SMALLEST; the channels double
with each halving, up to WIDEST times the width. A side of even length is halved by a kernel of 4, one of odd length
by a kernel of 3, with padding 1 in both cases, so that the transposed convolution restores the exact size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gpgan.nn.batch_norm import SyncedBatchNorm
from gpgan.nn.initialise import SLOPE
from gpgan.nn.labels import Projection, join, score
from gpgan.nn.norms import biased, norms

SMALLEST = 4
WIDEST = 8
# By the number of spatial dimensions.
CONVOLUTION: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}

Size = tuple[int, ...]


def ladder(*size: int) -> list[Size]:
    """The sizes from the given one down, e.g. (28, 28), (14, 14), (7, 7), (4, 4)."""
    sizes = [size]
    while min(sizes[-1]) > SMALLEST:
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    return sizes


def _kernel(size: Size) -> Size:
    return tuple(4 - side % 2 for side in size)


def channels_of(width: int, rungs: int) -> list[int]:
    """The channels at each rung of a ladder, from the full size down."""
    return [width * min(2**rung, WIDEST) for rung in range(rungs)]


class ConvGenerator(nn.Module):
    """Latents [B, latent], and with classes labels [B], to samples [B, C, T], [B, C, H, W] or [B, C, D, H, W] in [-1, 1].

    It has BatchNorm over the joint batch of all processes.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int, classes: int = 0) -> None:
        super().__init__()
        channels, *size = shape
        sizes = ladder(*size)
        widths = channels_of(width, len(sizes))
        self.embedding = nn.Embedding(classes, latent) if classes else None
        self.smallest = (widths[-1], *sizes[-1])
        # A bias before a BatchNorm changes nothing: its gradient is rounding noise, which Adam would scale up.
        self.first = nn.Linear(latent * (2 if classes else 1), math.prod(self.smallest), bias=False)
        layers: list[nn.Module] = [SyncedBatchNorm(widths[-1]), nn.LeakyReLU(SLOPE)]
        for rung in range(len(sizes) - 1, 0, -1):
            kernel = _kernel(sizes[rung - 1])
            layers += [
                TRANSPOSED[len(size)](widths[rung], widths[rung - 1], kernel, stride=2, padding=1, bias=False),
                SyncedBatchNorm(widths[rung - 1]),
                nn.LeakyReLU(SLOPE),
            ]
        layers += [CONVOLUTION[len(size)](widths[0], channels, 3, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        first: Tensor = self.first(join(latents, self.embedding, labels))
        samples: Tensor = self.layers(first.reshape(-1, *self.smallest))
        return samples


class ConvCritic(nn.Module):
    """Samples [B, C, T], [B, C, H, W] or [B, C, D, H, W], and with classes their labels [B], to scores [B].

    Unless the norm is "batch", a sample's score depends on that sample alone. The norm comes before the activation, after
    every convolution except the first.
    """

    def __init__(self, shape: Sequence[int], width: int, classes: int = 0, norm: str = "none") -> None:
        super().__init__()
        channels, *size = shape
        sizes = ladder(*size)
        widths = channels_of(width, len(sizes))
        convolution, normed = CONVOLUTION[len(size)], norms(norm)
        layers: list[nn.Module] = [convolution(channels, widths[0], 3, padding=1), nn.LeakyReLU(SLOPE)]
        for rung in range(1, len(sizes)):
            kernel = _kernel(sizes[rung - 1])
            layers += [
                convolution(widths[rung - 1], widths[rung], kernel, stride=2, padding=1, bias=biased(norm)),
                *normed(widths[rung]),
                nn.LeakyReLU(SLOPE),
            ]
        features = widths[-1] * math.prod(sizes[-1])
        layers += [nn.Flatten(), nn.Linear(features, 1)]
        self.layers = nn.Sequential(*layers)
        self.projection = Projection(classes, features) if classes else None

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        return score(self.layers, samples, self.projection, labels)
