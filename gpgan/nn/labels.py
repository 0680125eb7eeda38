"""Class labels in a network: a generator's go to its latents, a critic's to its last features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Projection(nn.Module):
    """Features [B, F] of samples and their labels [B] to the part of the scores that depends on the class, [B].

    e_y · h: a critic that adds it to w · h + b has a direction of its own for each class in its last features.

    Source:
        Miyato and Koyama, cGANs with Projection Discriminator, arXiv 1802.05637.
    """

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, features))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return (F.embedding(labels, self.weight) * features).sum(1)


def join(latents: Tensor, embedding: nn.Embedding | None, labels: Tensor | None) -> Tensor:
    """Latents [B, latent], followed by the vectors of their classes where there is an embedding of these.

    Raises:
        TypeError, ValueError: Labels are missing, or not wanted, or not int64 [B].
    """
    _check(labels, latents, embedding)
    if embedding is None or labels is None:
        return latents
    return torch.cat([latents, embedding(labels)], dim=1)


def score(layers: nn.Sequential, samples: Tensor, projection: Projection | None, labels: Tensor | None) -> Tensor:
    """Scores [B] of samples [B, ...]. The last of layers is the linear one from the features to [B, 1].

    Raises:
        TypeError, ValueError: As ``join``.
    """
    _check(labels, samples, projection)
    if projection is None or labels is None:
        plain: Tensor = layers(samples)
        return plain.squeeze(1)
    features = layers[:-1](samples)
    scores: Tensor = layers[-1](features).squeeze(1) + projection(features, labels)
    return scores


def _check(labels: Tensor | None, rows: Tensor, table: nn.Embedding | Projection | None) -> None:
    if table is None:
        if labels is not None:
            raise ValueError("labels came to a network without classes; leave them out, or build it with classes")
        return
    if labels is None:
        raise ValueError(f"labels is None, and the network was built with classes; expected {_wanted(table)}")
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        came = str(labels.dtype) if isinstance(labels, Tensor) else f"a {type(labels).__name__}"
        raise TypeError(f"labels is {came}; expected {_wanted(table)}")
    # Not by len, which would make torch.export take the size of the batch for a constant.
    if labels.dim() != 1 or labels.shape[0] != rows.shape[0]:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)} for {rows.shape[0]} samples; expected {_wanted(table)}"
        )


def _wanted(table: nn.Embedding | Projection) -> str:
    # Only for a message: under spectral normalisation each look at the weight moves its power iteration on.
    return f"labels, int64 [B], each from 0 to {len(table.weight) - 1}"
