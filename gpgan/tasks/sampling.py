"""Runs a sampler without changing any state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gpgan.util import random_states

# The number of samples made at once outside training.
BATCH = 256


@torch.no_grad()
def run_sampler(sampler: nn.Module, inputs: tuple[Tensor, ...], batch: int | None = None) -> Tensor:
    """Samples in eval mode; the module's mode and all random states are restored.

    Args:
        sampler: Maps ``inputs`` to samples.
        inputs: Each ``[n, ...]``.
        batch: At most this many rows at once; None for all.
    """
    was = sampler.training
    with random_states.borrowed():  # the user's own network may draw random numbers
        sampler.eval()
        parts = zip(*(torch.split(each, batch or len(each)) for each in inputs), strict=True)
        samples = [sampler(*part) for part in parts]
    sampler.train(was)
    return samples[0] if len(samples) == 1 else torch.cat(samples)


@contextlib.contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Restores a module's buffers after the block."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
