"""Held-out samples, on which a critic can be judged."""

from __future__ import annotations

import dataclasses

import torch

from gpgan.data.dataset import Dataset

SHARE = 10
LARGEST = 2500
FEWEST = 20
SEED = 0


def split(dataset: Dataset) -> Dataset:
    """The data set with its ``held_out`` part.

    If it has none, a tenth of the samples, at most 2500, is held out: always the same ones, whatever the run's seed.
    With fewer than 20 samples none are held out. Only the held-out samples are copied.
    """
    count = len(dataset)
    if dataset.held_out is not None or dataset.rows is not None or count < FEWEST:
        return dataset
    aside = torch.zeros(count, dtype=torch.bool)
    aside[torch.randperm(count, generator=torch.Generator().manual_seed(SEED))[: min(count // SHARE, LARGEST)]] = True
    labels = dataset.labels
    return dataclasses.replace(
        dataset,
        rows=(~aside).nonzero().flatten(),
        held_out=dataset.stored[aside.nonzero().flatten()],
        labels=None if labels is None else labels[~aside],
        held_out_labels=None if labels is None else labels[aside],
    )
