"""The order in which samples are trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Order:
    """The endless stream of sample numbers that goes through all samples, shuffled anew in every epoch.

    A pure function of count, seed and position: a run may go on anywhere, and processes may each take their own part of
    the stream.

    Args:
        count: How many samples there are.
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
        """int64 ``[count]``: the stream from position ``start`` on, numbers from 0 to that of the last sample.

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
        # Read once and replaced whole, so that threads never see an epoch with another's permutation.
        kept, permutation = self._kept
        if kept != epoch:
            permutation = self._shuffled(epoch)
            self._kept = (epoch, permutation)
        return permutation

    def _shuffled(self, epoch: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng((self._seed, epoch)).permutation(self._count))
