"""Multilayer perceptrons for vectors, and for samples of any shape flattened to vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from gpgan.nn.initialise import SLOPE
from gpgan.nn.labels import Projection, join, score
from gpgan.nn.norms import biased, norms

# Hidden layers of the 12-layer critic whose gradients per layer distinguish clipping from the penalty (Gulrajani et al.,
# arXiv 1704.00028, section 2 and figure 1: 13 activations from the input to the score).
DEEP = 11


def _layers(sizes: Sequence[int], norm: str = "none") -> nn.Sequential:
    """Linear layers from sizes[0] to sizes[-1] with LeakyReLU between them; a norm after all but the first and last."""
    normed = norms(norm)
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        inner = 0 < index < len(sizes) - 2
        layers += [nn.Linear(inputs, outputs, bias=not inner or biased(norm))]
        layers += [*(normed(outputs) if inner else []), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


class MLPGenerator(nn.Module):
    """Latents [B, latent], and with classes labels [B], to samples [B, *shape].

    Signals, images and volumes end in tanh; vectors are unbounded.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int, depth: int, classes: int = 0) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.embedding = nn.Embedding(classes, latent) if classes else None
        self.layers = _layers([latent * (2 if classes else 1), *[width] * depth, math.prod(shape)])
        self.last = nn.Tanh() if len(self.shape) >= 2 else nn.Identity()

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        samples: Tensor = self.last(self.layers(join(latents, self.embedding, labels)))
        return samples.reshape(-1, *self.shape)


class MLPCritic(nn.Module):
    """Samples [B, *shape], and with classes their labels [B], to scores [B].

    It has ``depth`` hidden layers, so depth + 1 linear ones. ``DEEP`` gives the 12-layer critic of the WGAN-GP paper, which
    has ReLU instead of LeakyReLU. The norm comes before the activation, from the second to the last hidden layer.
    """

    def __init__(self, shape: Sequence[int], width: int, depth: int, classes: int = 0, norm: str = "none") -> None:
        super().__init__()
        sizes = [math.prod(shape), *[width] * depth]
        self.layers = _layers([*sizes, 1], norm)
        self.projection = Projection(classes, sizes[-1]) if classes else None

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        return score(self.layers, samples.flatten(1), self.projection, labels)
