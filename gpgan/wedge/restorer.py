"""A network from an observation to the volume behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gpgan.nn.unet import UNet
from gpgan.wedge.averaging import ball
from gpgan.wedge.baselines import alternate
from gpgan.wedge.operators import inverse, transform

# Iterations of Gerchberg-Papoulis that the network begins from.
ITERATIONS = 20


class Restorer(nn.Module):
    """Observations ``[B, 1, D, H, W]`` to volumes of the same shape.

    A U-Net corrects what Gerchberg and Papoulis' iterations give. Measured components are then pulled to the observation,
    by signal / (signal + noise): the network decides about the others.

    Args:
        shape: Of a volume (D, H, W). Convolutions and the filter for another one are made by ``resized``.
        width: The U-Net's channels at full size.
        depth: How often it halves the sides.
        share: Of the largest ball, which objects fill; 0: no ball, for tiles of a tomogram.
    """

    gain: Tensor
    inside: Tensor

    def __init__(self, shape: tuple[int, ...], width: int, depth: int, share: float) -> None:
        super().__init__()
        self.net = UNet(2, len(shape), width, depth)
        self.register_buffer("gain", torch.ones(*shape[:-1], shape[-1] // 2 + 1))
        self.register_buffer("inside", ball(shape, share) if share else torch.ones(shape))

    def forward(self, observations: Tensor) -> Tensor:
        start = alternate(observations, self.gain, self.inside, ITERATIONS)
        made = self.net(torch.cat([start, observations], 1))
        spectrum = transform(made)
        return inverse(spectrum + self.gain * (transform(observations) - spectrum), self.inside.shape)
