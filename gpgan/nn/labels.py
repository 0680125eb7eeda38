"""Class labels in a network: the generator appends them to its latents, the critic applies them to its last features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpgan.util.words import counted


class Projection(nn.Module):
    """Maps features [B, F] and labels [B] to the class-dependent part of the scores, [B].

    e_y · h for features h and class y. A critic adds it to w · h + b, and so has a separate direction per class.

    Source:
        Miyato and Koyama, cGANs with Projection Discriminator, arXiv 1802.05637.
    """

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, features))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return (F.embedding(labels, self.weight) * features).sum(1)


def join(latents: Tensor, embedding: nn.Embedding | None, labels: Tensor | None) -> Tensor:
    """Latents [B, latent], with their class embeddings appended if there is an embedding.

    Raises:
        TypeError, ValueError: Labels are missing, unexpected, or not int64 [B].
    """
    _check(labels, latents, embedding)
    if embedding is None or labels is None:
        return latents
    return torch.cat([latents, embedding(labels)], dim=1)


def score(layers: nn.Sequential, samples: Tensor, projection: Projection | None, labels: Tensor | None) -> Tensor:
    """Scores [B] of samples [B, ...]. The last of ``layers`` is linear, from the features to [B, 1].

    Raises:
        TypeError, ValueError: As in ``join``.
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
            raise ValueError(
                "labels were given to a network without classes; expected no labels, or a network built with classes"
            )
        return
    if labels is None:
        raise ValueError(f"labels is None, and the network was built with classes; expected {_expected(table)}")
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        came = str(labels.dtype) if isinstance(labels, Tensor) else f"a {type(labels).__name__}"
        raise TypeError(f"labels is {came}; expected {_expected(table)}")
    # Not len(), which would make torch.export treat the batch size as a constant.
    if labels.dim() != 1 or labels.shape[0] != rows.shape[0]:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)} for {counted(rows.shape[0], 'sample')}; expected {_expected(table)}"
        )


def _expected(table: nn.Embedding | Projection) -> str:
    # Called only for a message: with spectral normalisation, reading the weight advances its power iteration.
    return f"labels, int64 [B], each from 0 to {len(table.weight) - 1}"
