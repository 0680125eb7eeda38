"""The order in which the training visits the samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Order:
    """An endless stream of sample indices that visits every sample once per epoch, reshuffled each epoch.

    A pure function of count, seed and position: a run may resume anywhere, and each process may take its own part of
    the stream.

    Args:
        count: The number of samples.
        seed: 0 or more.

    Raises:
        ValueError: count or seed is out of range.
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError(f"count is {count}; expected 1 or more samples")
        if seed < 0:
            raise ValueError(f"seed is {seed}; expected 0 or more")
        self._count, self._seed = count, seed
        self._kept = (0, self._shuffled(0))

    def indices(self, start: int, count: int) -> Tensor:
        """int64 ``[count]``: the stream's sample indices from position ``start`` on.

        Raises:
            ValueError: start or count is negative.
        """
        if start < 0 or count < 0:
            raise ValueError(f"start is {start} and count {count}; expected 0 or more")
        parts = []
        end = start + count
        while start < end:
            epoch, first = divmod(start, self._count)
            part = self._epoch(epoch)[first : first + end - start]
            parts.append(part)
            start += len(part)
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)

    def _epoch(self, epoch: int) -> Tensor:
        # Read and replaced as one tuple, so that no thread sees an epoch with another epoch's permutation.
        kept, permutation = self._kept
        if kept != epoch:
            permutation = self._shuffled(epoch)
            self._kept = (epoch, permutation)
        return permutation

    def _shuffled(self, epoch: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng((self._seed, epoch)).permutation(self._count))
