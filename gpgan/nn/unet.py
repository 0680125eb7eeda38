"""A U-Net for images and volumes (Ronneberger et al., arXiv 1505.04597), small enough for a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gpgan.nn.conv import CONVOLUTION
from gpgan.nn.initialise import SLOPE


class UNet(nn.Module):
    """Adds a correction to its input's first channel: ``[B, channels, *size]`` to ``[B, 1, *size]``.

    Each level halves the sides by a strided convolution and doubles the channels; the way back interpolates to the sides of
    the way down, which may be odd. No normalisation: a volume's scale means something. The last layer starts at 0, so that
    an untrained network returns its input.

    Args:
        channels: Of the input.
        dims: 2 for images, 3 for volumes.
        width: Channels at the full size.
        depth: How often the sides are halved.
    """

    def __init__(self, channels: int, dims: int, width: int, depth: int) -> None:
        super().__init__()
        conv = CONVOLUTION[dims]
        self.first = nn.Sequential(conv(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE))
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            nn.Sequential(
                conv(wide, 2 * wide, 3, stride=2, padding=1),
                nn.LeakyReLU(SLOPE),
                conv(2 * wide, 2 * wide, 3, padding=1),
                nn.LeakyReLU(SLOPE),
            )
            for wide in widths[:-1]
        )
        self.up = nn.ModuleList(
            nn.Sequential(conv(3 * wide, wide, 3, padding=1), nn.LeakyReLU(SLOPE)) for wide in reversed(widths[:-1])
        )
        self.last = conv(width, 1, 3, padding=1)

    def forward(self, volumes: Tensor) -> Tensor:
        kept = [self.first(volumes)]
        for layers in self.down:
            kept.append(layers(kept[-1]))
        features = kept.pop()
        for layers in self.up:
            before = kept.pop()
            wider = nn.functional.interpolate(features, size=before.shape[2:], mode="nearest")
            features = layers(torch.cat([wider, before], 1))
        correction: Tensor = self.last(features)
        return volumes[:, :1] + correction
