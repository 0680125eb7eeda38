"""Held-out samples for the critic's estimate, which are never trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.data import Dataset
from gpgan.tasks.generation.config import Config

# A tick uses at most this many.
MOST = 512


def held_out_samples(dataset: Dataset, config: Config) -> tuple[Tensor, Tensor | None] | None:
    """Held-out samples ``[n, ...]``, scaled and on the device, and in a conditional run their labels ``[n]``.

    If samples are set aside to choose a checkpoint by, they are these, so that training never sees those of a report.
    None if there are too few samples (fewer than one pack, or than two packs with BatchNorm), or if a conditional run
    has no held-out labels.
    """
    data, labels = dataset.held_out, dataset.held_out_labels
    if dataset.selection is not None and dataset.whole is not None:
        data = dataset.stored[dataset.selection]
        labels = None if dataset.whole.labels is None else dataset.whole.labels[dataset.selection]
    least = config.pack * (2 if config.network.norm == "batch" else 1)
    if data is None or len(data) < least or (config.conditional and labels is None):
        return None
    # Shuffled, as they may be sorted: the chosen ones and those of a pack must be a random sample.
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(config.seed))[:MOST]
    samples = dataset.scaled(data[chosen]).to(config.device)
    return samples, labels[chosen].to(config.device) if config.conditional and labels is not None else None
