"""Builds and checks the networks of generation, and lists their known problems."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gpgan import nn as networks
from gpgan.nn.packing import pack
from gpgan.nn.spectral import spectral_norm
from gpgan.tasks.generation.config import Config
from gpgan.tasks.own_modules import check_output
from gpgan.util import random_states
from gpgan.util.imports import own_module


def build_networks(
    config: Config,
    shape: Sequence[int],
    classes: int,
    generator: nn.Module | None = None,
    critic: nn.Module | None = None,
) -> tuple[nn.Module, nn.Module]:
    """Builds generator and critic of a resolved configuration, on its device.

    Args:
        config: ``network.generator`` and ``network.critic`` name callables ``(latent=, shape=)`` and ``(shape=)`` that
            return modules; conditional runs also give ``classes=``. With ``pack`` the critic's shape is that of a pack.
        shape: Of a sample.
        classes: The number of classes; 0 for unconditional networks.
        generator, critic: Existing modules, used instead of what the configuration names; the critic is changed in
            place if the configuration sets spectral normalisation.

    Raises:
        ValueError: A network cannot be built this way.
    """
    net = config.network
    if critic is not None and (net.norm != "none" or net.critic_depth):
        raise ValueError(
            f"network.norm is {net.norm!r} and network.critic-depth is {net.critic_depth}, which apply only to gpgan's own "
            "critics, and a critic is given; expected one of them"
        )
    pair = [generator, critic]
    extra = {"classes": classes} if classes else {}
    # The user's own networks draw initial weights from the global random states, as torch's constructors do.
    with random_states.borrowed():
        random_states.seed(config.seed)
        if generator is None and net.generator:
            pair[0] = own_module(
                "network.generator", net.generator, {"latent": net.latent, "shape": tuple(shape), **extra}
            )
        if critic is None and net.critic:
            packed = (config.pack * shape[0], *shape[1:])
            pair[1] = own_module("network.critic", net.critic, {"shape": packed, **extra})
        if pair[1] is not None and net.spectral_norm:
            _normalise(pair[1])
        if None in pair:
            rng = torch.Generator().manual_seed(config.seed)
            built = networks.build(
                net.kind,
                shape,
                latent=net.latent,
                width=net.width,
                depth=net.depth,
                critic_depth=net.critic_depth,
                norm=net.norm,
                spectral_norm=net.spectral_norm,
                pack=config.pack,
                classes=classes,
                rng=rng,
            )
            pair = [ours if own is None else own for own, ours in zip(pair, built, strict=True)]
    made, judge = (module.to(config.device) for module in pair if module is not None)
    return made, judge


def _normalise(critic: nn.Module) -> None:
    try:
        spectral_norm(critic)
    except ValueError as error:
        raise ValueError(f"network.spectral-norm is on: {error}") from error


def check_networks(config: Config, generator: nn.Module, critic: nn.Module, shape: Sequence[int], classes: int) -> None:
    """Runs both networks on a few samples.

    Raises:
        ValueError: The generator does not return samples of the data's shape, or the critic does not return scores.
    """
    labels = (torch.arange(2, device=config.device) % classes,) if classes else ()
    was = generator.training, critic.training
    try:
        with torch.no_grad(), random_states.borrowed():
            fake = generator.eval()(torch.randn(2, config.network.latent, device=config.device), *labels)
            check_output("generator", fake, (2, *shape))
            packs = pack(fake.repeat_interleave(config.pack, 0), config.pack)
            check_output("critic", critic.eval()(packs, *labels), (2,))
    finally:
        generator.train(was[0])
        critic.train(was[1])
