"""Generators and critics: perceptrons for vectors, small convolutional networks for images and volumes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gpgan.nn.batch_norm import SyncedBatchNorm
from gpgan.nn.conv import ConvCritic, ConvGenerator
from gpgan.nn.initialise import initialise
from gpgan.nn.mlp import MLPCritic, MLPGenerator

__all__ = ["ConvCritic", "ConvGenerator", "MLPCritic", "MLPGenerator", "SyncedBatchNorm", "build", "initialise"]

KINDS = ("mlp", "conv")


def build(
    kind: str,
    shape: Sequence[int],
    *,
    latent: int,
    width: int,
    depth: int,
    classes: int = 0,
    generator: torch.Generator,
) -> tuple[nn.Module, nn.Module]:
    """The pair (generator, critic) for samples of a shape, on the CPU, with weights drawn from ``generator``.

    Args:
        kind: ``"mlp"`` for samples of any shape, ``"conv"`` for images ``[C, H, W]`` and volumes ``[C, D, H, W]``.
        shape: The shape of one sample.
        latent: How many numbers the generator makes a sample from.
        width: Hidden units of an MLP; channels of a convolutional network at the full resolution.
        depth: Hidden layers of an MLP.
        classes: With 1 or more, both networks take labels int64 ``[B]`` as their second argument: ``generator(latents,
            labels)``, ``critic(samples, labels)``.
        generator: The random state for the weights, on the CPU.

    Raises:
        ValueError: The kind has another name, classes is negative, or a convolutional network is wanted for samples that
            are neither images nor volumes.
    """
    pair: tuple[nn.Module, nn.Module]
    if classes < 0:
        raise ValueError(f"classes is {classes}; wanted how many classes the labels have, or 0 for none")
    if kind == "mlp":
        pair = MLPGenerator(latent, shape, width, depth, classes), MLPCritic(shape, width, depth, classes)
    elif kind == "conv":
        if len(shape) not in (3, 4):
            raise ValueError(
                f"network.kind is 'conv' and samples have shape {tuple(shape)}; wanted [C, H, W] or [C, D, H, W], or kind "
                "'mlp'"
            )
        pair = ConvGenerator(latent, shape, width, classes), ConvCritic(shape, width, classes)
    else:
        raise ValueError(f"network.kind is {kind!r}; wanted one of {', '.join(map(repr, KINDS))}")
    for module in pair:
        initialise(module, generator)
    return pair
