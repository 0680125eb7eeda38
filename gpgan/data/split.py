"""The parts of a data set: to train on, to choose a checkpoint by, and to report on."""

from __future__ import annotations

import dataclasses

import torch

from gpgan.data.dataset import Dataset

SHARE = 10
LARGEST = 2500
FEWEST = 20
SEED = 0
# The part that checkpoints are chosen by: this share of all samples, at most LARGEST, and none if it has fewer than this.
SELECTION_SHARE, SELECTION_FEWEST = 12, 50


def split(dataset: Dataset, selection: int = 0) -> Dataset:
    """The data set with its ``held_out`` part and, if ``selection`` is above 0, with so many samples set aside.

    If it has none, a tenth of the samples, at most 2500, is held out: always the same ones, whatever the run's seed.
    With fewer than 20 samples none are held out. Only the held-out samples are copied.
    """
    count = len(dataset)
    if dataset.rows is not None:
        return dataset
    held_out = 0 if dataset.held_out is not None or count < FEWEST else min(count // SHARE, LARGEST)
    if not held_out + selection:
        return dataset
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SEED))[: held_out + selection]
    trained = torch.ones(count, dtype=torch.bool)
    trained[order] = False
    labels = dataset.labels
    parts = dataclasses.replace(
        dataset,
        rows=trained.nonzero().flatten(),
        selection=order[held_out:].sort().values if selection else None,
        labels=None if labels is None else labels[trained],
        whole=dataset,
    )
    if not held_out:
        return parts
    aside = order[:held_out].sort().values
    return dataclasses.replace(
        parts,
        held_out=dataset.stored[aside],
        held_out_labels=None if labels is None else labels[aside],
    )


def selection_size(dataset: Dataset) -> int:
    """How many samples are set aside to choose a checkpoint by; 0: there are too few."""
    size = min(len(dataset.whole or dataset) // SELECTION_SHARE, LARGEST)
    return size if size >= SELECTION_FEWEST else 0
