"""Normalisation between a critic's layers, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from gpgan.nn.batch_norm import SyncedBatchNorm
from gpgan.util.nearest import nearest

Norm = Callable[[int], list[nn.Module]]

NORMS: dict[str, Norm] = {
    "none": lambda channels: [],
    # Couples the samples of a batch: for critics without a gradient penalty.
    "batch": lambda channels: [SyncedBatchNorm(channels)],
    # Over all of a sample's numbers, C, H and W (Ba et al., arXiv 1607.06450), with a scale and a shift a channel.
    "layer": lambda channels: [nn.GroupNorm(1, channels)],
}
# What the entries above are made of.
NORM_LAYERS = (SyncedBatchNorm, nn.GroupNorm)


def norms(name: str) -> Norm:
    """From a number of channels to the layers that normalise [B, channels, ...]: one, or none.

    Raises:
        ValueError: There is no norm of that name; the nearest one is told.
    """
    if name not in NORMS:
        raise ValueError(f"norm is {name!r}; expected {', '.join(NORMS)}{nearest(str(name), NORMS)}")
    return NORMS[name]


def biased(norm: str) -> bool:
    """Whether a layer right before the norm is to have a bias.

    Before a BatchNorm it changes nothing: its gradient is rounding noise, which Adam would scale up.
    """
    return norm != "batch"
