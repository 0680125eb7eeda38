"""Multilayer perceptrons for vectors, or for samples of any shape seen as vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from gpgan.nn.initialise import SLOPE


def _layers(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers from sizes[0] to sizes[-1] with LeakyReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


class MLPGenerator(nn.Module):
    """Latents [B, latent] to samples [B, *shape]; images end in tanh, vectors are unbounded."""

    def __init__(self, latent: int, shape: Sequence[int], width: int, depth: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.layers = _layers([latent, *[width] * depth, math.prod(shape)])
        self.last = nn.Tanh() if len(self.shape) == 3 else nn.Identity()

    def forward(self, latents: Tensor) -> Tensor:
        samples: Tensor = self.last(self.layers(latents))
        return samples.reshape(-1, *self.shape)


class MLPCritic(nn.Module):
    """Samples [B, *shape] to scores [B]."""

    def __init__(self, shape: Sequence[int], width: int, depth: int) -> None:
        super().__init__()
        self.layers = _layers([math.prod(shape), *[width] * depth, 1])

    def forward(self, samples: Tensor) -> Tensor:
        scores: Tensor = self.layers(samples.flatten(1))
        return scores.squeeze(1)
