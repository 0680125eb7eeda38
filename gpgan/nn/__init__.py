"""Generators and critics: perceptrons for vectors, DCGAN for signals, images and volumes, and residual networks
for square images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gpgan.nn import spectral
from gpgan.nn.batch_norm import SyncedBatchNorm
from gpgan.nn.conv import ConvCritic, ConvGenerator
from gpgan.nn.initialise import initialise
from gpgan.nn.mlp import DEEP, MLPCritic, MLPGenerator
from gpgan.nn.norms import NORM_LAYERS, NORMS
from gpgan.nn.packing import pack
from gpgan.nn.resnet import ResNetCritic, ResNetGenerator
from gpgan.nn.spectral import spectral_norm
from gpgan.util.nearest import nearest

__all__ = [
    "DEEP",
    "KINDS",
    "NORMS",
    "ConvCritic",
    "ConvGenerator",
    "MLPCritic",
    "MLPGenerator",
    "ResNetCritic",
    "ResNetGenerator",
    "SyncedBatchNorm",
    "build",
    "initialise",
    "pack",
    "spectral_norm",
]

KINDS = ("mlp", "conv", "resnet")


def build(
    kind: str,
    shape: Sequence[int],
    *,
    latent: int,
    width: int,
    depth: int,
    classes: int = 0,
    critic_depth: int = 0,
    norm: str = "none",
    spectral_norm: bool = False,
    pack: int = 1,
    rng: torch.Generator,
) -> tuple[nn.Module, nn.Module]:
    """The pair (generator, critic) for samples of a shape, on the CPU, with weights drawn from ``rng``.

    Args:
        kind: ``"mlp"`` for samples of any shape, ``"conv"`` for signals ``[C, T]``, images ``[C, H, W]`` and volumes
            ``[C, D, H, W]``, ``"resnet"`` for square images ``[C, S, S]`` whose side is 4, 5, 6 or 7 times 2, 4, 8, ...
        shape: The shape of one sample.
        latent: Size of the generator's latent vector.
        width: Hidden units per layer of an MLP; channels of a convolutional or residual network at the full resolution.
        depth: Hidden layers of an MLP.
        classes: With 1 or more, both networks take labels int64 ``[B]`` as their second argument: ``generator(latents,
            labels)``, ``critic(samples, labels)``. 0: no labels.
        critic_depth: Hidden layers of an MLP's critic; 0: the same as ``depth``.
        norm: The normalisation after each layer of the critic except the first and the last: ``"none"``, ``"batch"`` or
            ``"layer"``. The generators of signals, images and volumes always have BatchNorm.
        spectral_norm: Each weight of the critic is divided by its largest singular value
            (``gpgan.nn.spectral_norm``).
        pack: How many samples the critic scores together: it maps ``[B / pack, pack * C, ...]`` or ``[B / pack, pack * D]``,
            laid out by ``gpgan.nn.pack``, to scores ``[B / pack]``.
        rng: The random state for the weights, on the CPU.

    Raises:
        ValueError: The kind or norm is unknown, a number is below its range, two arguments contradict each other, the
            critic has too few layers for a norm, or networks of this kind do not take samples of this shape.
    """
    _check(kind, classes, critic_depth, pack)
    seen = (pack * shape[0], *shape[1:])
    pair: tuple[nn.Module, nn.Module]
    if kind == "mlp":
        critic = MLPCritic(seen, width, critic_depth or depth, classes, norm)
        pair = MLPGenerator(latent, shape, width, depth, classes), critic
    elif kind == "conv":
        if len(shape) not in (2, 3, 4):
            raise ValueError(
                f"network.kind is 'conv' and samples have shape {tuple(shape)}; expected [C, T], [C, H, W] or [C, D, H, W], "
                "or kind 'mlp'"
            )
        pair = ConvGenerator(latent, shape, width, classes), ConvCritic(seen, width, classes, norm)
    else:
        pair = ResNetGenerator(latent, shape, width, classes), ResNetCritic(seen, width, classes, norm)
    if norm != "none" and not any(isinstance(layer, NORM_LAYERS) for layer in pair[1].modules()):
        raise ValueError(
            f"norm is {norm!r} and this critic has no place for one: a norm comes neither after the first layer nor after the "
            "last; expected a critic of more layers (an MLP's critic_depth 2 or more), or norm 'none'"
        )
    for module in pair:
        initialise(module, rng)
    if spectral_norm:
        # The initial vectors of its power iterations come from the global random state. It is seeded after all weights are
        # drawn, so that these do not depend on spectral_norm.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
            spectral.spectral_norm(pair[1])
    return pair


def _check(kind: str, classes: int, critic_depth: int, pack: int) -> None:
    if kind not in KINDS:
        raise ValueError(
            f"network.kind is {kind!r}; expected one of {', '.join(map(repr, KINDS))}{nearest(str(kind), KINDS)}"
        )
    if classes < 0:
        raise ValueError(f"classes is {classes}; expected the number of classes, or 0 for none")
    if critic_depth < 0:
        raise ValueError(
            f"critic_depth is {critic_depth}; expected the number of hidden layers, or 0 for the same as depth"
        )
    if critic_depth and kind != "mlp":
        raise ValueError(
            f"critic_depth is {critic_depth} and network.kind is {kind!r}, whose depth follows from the size of the "
            "samples; expected 0, or kind 'mlp'"
        )
    if pack < 1:
        raise ValueError(f"pack is {pack}; expected the number of samples the critic sees at once, 1 or more")
    if pack > 1 and classes:
        raise ValueError(
            f"pack is {pack} and classes is {classes}: the samples of a pack need not share a class; expected pack 1, or "
            "networks without classes"
        )
