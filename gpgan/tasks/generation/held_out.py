"""The samples that a run's critic is asked about and never trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.data import Dataset
from gpgan.tasks.generation.config import Config

# At most so many are looked at in a tick.
MOST = 512


def held_out_samples(dataset: Dataset, config: Config) -> tuple[Tensor, Tensor | None] | None:
    """Samples ``[n, ...]`` scaled and on the device, and in a conditional run their labels ``[n]``.

    None where there are none, too few for a pack, or for the two of them that a BatchNorm needs, or none with labels where
    these are wanted.
    """
    data = dataset.held_out
    least = config.pack * (2 if config.network.norm == "batch" else 1)
    if data is None or len(data) < least or (config.conditional and dataset.held_out_labels is None):
        return None
    # They may be sorted: neither the first ones nor those of a pack are to be more alike than any others.
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(config.seed))[:MOST]
    labels = dataset.held_out_labels[chosen] if config.conditional and dataset.held_out_labels is not None else None
    samples = dataset.scaled(data[chosen]).to(config.device)
    return samples, None if labels is None else labels.to(config.device)
