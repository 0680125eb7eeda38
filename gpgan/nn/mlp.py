"""Multilayer perceptrons for vectors, or for samples of any shape seen as vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from gpgan.nn.initialise import SLOPE
from gpgan.nn.labels import Projection, join, score


def _layers(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers from sizes[0] to sizes[-1] with LeakyReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


class MLPGenerator(nn.Module):
    """Latents [B, latent], and with classes labels [B], to samples [B, *shape].

    Images and volumes end in tanh, vectors are unbounded.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int, depth: int, classes: int = 0) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.embedding = nn.Embedding(classes, latent) if classes else None
        self.layers = _layers([latent * (2 if classes else 1), *[width] * depth, math.prod(shape)])
        self.last = nn.Tanh() if len(self.shape) >= 3 else nn.Identity()

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        samples: Tensor = self.last(self.layers(join(latents, self.embedding, labels)))
        return samples.reshape(-1, *self.shape)


class MLPCritic(nn.Module):
    """Samples [B, *shape], and with classes their labels [B], to scores [B]."""

    def __init__(self, shape: Sequence[int], width: int, depth: int, classes: int = 0) -> None:
        super().__init__()
        sizes = [math.prod(shape), *[width] * depth]
        self.layers = _layers([*sizes, 1])
        self.projection = Projection(classes, sizes[-1]) if classes else None

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        return score(self.layers, samples.flatten(1), self.projection, labels)
