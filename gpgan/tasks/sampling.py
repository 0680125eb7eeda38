"""Running a sampler without leaving a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gpgan.util import random_states

# Samples that are made at once where nothing has to be like training.
BATCH = 256


@torch.no_grad()
def run_sampler(sampler: nn.Module, inputs: tuple[Tensor, ...], batch: int | None = None) -> Tensor:
    """Samples in eval mode; the module's own mode and all random states are given back.

    Args:
        sampler: From ``inputs`` to samples.
        inputs: Each ``[n, ...]``.
        batch: At most this many rows at once; None for all.
    """
    was = sampler.training
    with random_states.borrowed():  # a network of the user's own may draw
        sampler.eval()
        parts = zip(*(torch.split(each, batch or len(each)) for each in inputs), strict=True)
        samples = [sampler(*part) for part in parts]
    sampler.train(was)
    return samples[0] if len(samples) == 1 else torch.cat(samples)


@contextlib.contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Gives a module's buffers back as they were before the block."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
