"""Small convolutional networks for images and volumes of any size.

Both networks walk the same ladder of sizes, each about half of the one before, down to SMALLEST; the channels double
with each halving, up to WIDEST times the width. A side of even length is halved by a kernel of 4, one of odd length
by a kernel of 3, with padding 1 in both cases, so that the transposed convolution leads back to the exact size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gpgan.nn.batch_norm import SyncedBatchNorm
from gpgan.nn.initialise import SLOPE
from gpgan.nn.labels import Projection, join, score

SMALLEST = 4
WIDEST = 8
# By the number of a sample's sides.
CONVOLUTION: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}

Size = tuple[int, ...]


def ladder(*size: int) -> list[Size]:
    """The sizes from the given one downwards, e.g. (28, 28), (14, 14), (7, 7), (4, 4)."""
    sizes = [size]
    while min(sizes[-1]) > SMALLEST:
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    return sizes


def _kernel(size: Size) -> Size:
    return tuple(4 - side % 2 for side in size)


def _channels(width: int, rungs: int) -> list[int]:
    return [width * min(2**rung, WIDEST) for rung in range(rungs)]


class ConvGenerator(nn.Module):
    """Latents [B, latent] to samples [B, C, H, W] or [B, C, D, H, W] in [-1, 1]; with classes, of labels [B] too.

    It has BatchNorm, over the joint batch of all processes; the critic has none.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int, classes: int = 0) -> None:
        super().__init__()
        channels, *size = shape
        sizes = ladder(*size)
        widths = _channels(width, len(sizes))
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
    """Samples [B, C, H, W] or [B, C, D, H, W], and with classes their labels [B], to scores [B].

    No normalisation, so that each sample's gradient is its own.
    """

    def __init__(self, shape: Sequence[int], width: int, classes: int = 0) -> None:
        super().__init__()
        channels, *size = shape
        sizes = ladder(*size)
        widths = _channels(width, len(sizes))
        convolution = CONVOLUTION[len(size)]
        layers: list[nn.Module] = [convolution(channels, widths[0], 3, padding=1), nn.LeakyReLU(SLOPE)]
        for rung in range(1, len(sizes)):
            kernel = _kernel(sizes[rung - 1])
            layers += [
                convolution(widths[rung - 1], widths[rung], kernel, stride=2, padding=1),
                nn.LeakyReLU(SLOPE),
            ]
        features = widths[-1] * math.prod(sizes[-1])
        layers += [nn.Flatten(), nn.Linear(features, 1)]
        self.layers = nn.Sequential(*layers)
        self.projection = Projection(classes, features) if classes else None

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        return score(self.layers, samples, self.projection, labels)
