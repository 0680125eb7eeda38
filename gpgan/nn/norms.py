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
    # Over all of a sample's elements, C, H and W (Ba et al., arXiv 1607.06450), with a scale and a shift per channel.
    "layer": lambda channels: [nn.GroupNorm(1, channels)],
}
# The layer types of the entries above.
NORM_LAYERS = (SyncedBatchNorm, nn.GroupNorm)


def norms(name: str) -> Norm:
    """The norm of that name: from a number of channels to the layers that normalise [B, channels, ...], one or none.

    Raises:
        ValueError: There is no norm of that name; the message suggests the nearest one.
    """
    if name not in NORMS:
        raise ValueError(f"norm is {name!r}; expected {', '.join(NORMS)}{nearest(str(name), NORMS)}")
    return NORMS[name]


def biased(norm: str) -> bool:
    """Whether a layer directly before this norm has a bias.

    A bias before BatchNorm has no effect: its gradient is rounding noise, which Adam would scale up.
    """
    return norm != "batch"
