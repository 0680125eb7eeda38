"""Small convolutional networks for images of any size.

Both networks walk the same ladder of sizes, each about half of the one before, down to SMALLEST; the channels double
with each halving, up to WIDEST times the width. A side of even length is halved by a kernel of 4, one of odd length
by a kernel of 3, with padding 1 in both cases, so that the transposed convolution leads back to the exact size.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gpgan.nn.initialise import SLOPE

SMALLEST = 4
WIDEST = 8

Size = tuple[int, int]


def ladder(height: int, width: int) -> list[Size]:
    """The sizes from [height, width] downwards, e.g. (28, 28), (14, 14), (7, 7), (4, 4)."""
    sizes = [(height, width)]
    while min(sizes[-1]) > SMALLEST:
        h, w = sizes[-1]
        sizes.append(((h + 1) // 2, (w + 1) // 2))
    return sizes


def _kernel(size: Size) -> Size:
    return 4 - size[0] % 2, 4 - size[1] % 2


def _channels(width: int, rungs: int) -> list[int]:
    return [width * min(2**rung, WIDEST) for rung in range(rungs)]


class ConvGenerator(nn.Module):
    """Latents [B, latent] to images [B, C, H, W] in [-1, 1]. It has BatchNorm; the critic has none."""

    def __init__(self, latent: int, shape: Sequence[int], width: int) -> None:
        super().__init__()
        channels, height, breadth = shape
        sizes = ladder(height, breadth)
        widths = _channels(width, len(sizes))
        self.smallest = (widths[-1], *sizes[-1])
        # A bias before a BatchNorm changes nothing: its gradient is rounding noise, which Adam would scale up.
        self.first = nn.Linear(latent, widths[-1] * sizes[-1][0] * sizes[-1][1], bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[-1]), nn.LeakyReLU(SLOPE)]
        for rung in range(len(sizes) - 1, 0, -1):
            layers += [
                nn.ConvTranspose2d(
                    widths[rung], widths[rung - 1], _kernel(sizes[rung - 1]), stride=2, padding=1, bias=False
                ),
                nn.BatchNorm2d(widths[rung - 1]),
                nn.LeakyReLU(SLOPE),
            ]
        layers += [nn.Conv2d(widths[0], channels, 3, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.layers(self.first(latents).reshape(-1, *self.smallest))
        return images


class ConvCritic(nn.Module):
    """Images [B, C, H, W] to scores [B]. No normalisation, so that each sample's gradient is its own."""

    def __init__(self, shape: Sequence[int], width: int) -> None:
        super().__init__()
        channels, height, breadth = shape
        sizes = ladder(height, breadth)
        widths = _channels(width, len(sizes))
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1), nn.LeakyReLU(SLOPE)]
        for rung in range(1, len(sizes)):
            layers += [
                nn.Conv2d(widths[rung - 1], widths[rung], _kernel(sizes[rung - 1]), stride=2, padding=1),
                nn.LeakyReLU(SLOPE),
            ]
        layers += [nn.Flatten(), nn.Linear(widths[-1] * sizes[-1][0] * sizes[-1][1], 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores.squeeze(1)
