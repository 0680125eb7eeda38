"""Small trainings for the labs: perceptrons, a critic between two fixed distributions, and the whole game."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gpgan import objectives
from gpgan.critic.step import CriticStep
from gpgan.labs.lab import Progress
from gpgan.nn import initialise
from gpgan.penalty import Penalty
from gpgan.tasks.updates import descend, frozen, verdict

Draw = Callable[[int, torch.Generator], Tensor]
"""(batch, rng) to samples ``[batch, D]``."""

# Progress is told so many times in a training.
TOLD = 50


def perceptron(
    sizes: Sequence[int], rng: torch.Generator, activation: type[nn.ReLU] | type[nn.LeakyReLU] = nn.ReLU
) -> nn.Sequential:
    """Linear layers from ``sizes[0]`` to ``sizes[-1]`` with activations between: ``[B, first]`` to ``[B, last]``, or ``[B]``.

    ``[B]`` where the last size is 1. Weights and biases come from ``rng``. The biases are spread as torch spreads them,
    by 1 / sqrt(inputs), so that the kinks of the first layer do not all lie in the origin.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        # Without torch's own first weights, which come from the global random state.
        layers += [nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu"), activation()]
    network = nn.Sequential(*layers[:-1], *([nn.Flatten(0)] if sizes[-1] == 1 else []))
    initialise(network, rng)
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                layer.bias.uniform_(-bound, bound, generator=rng)
    return network


def train_critic(
    critic: nn.Module,
    draw_real: Draw,
    draw_fake: Draw,
    *,
    steps: int,
    batch: int,
    rng: torch.Generator,
    objective: str = "wasserstein",
    penalty: Penalty | None = None,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.0, 0.9),
    lazy: int = 1,
    max_weight: float | None = None,
    progress: Progress | None = None,
    each: Callable[[int], None] | None = None,
) -> None:
    """Trains a critic between two distributions that stay as they are, with Adam.

    Args:
        critic: ``[B, D]`` to scores ``[B]``.
        draw_real: Gives samples ``[batch, D]``.
        draw_fake: Likewise.
        steps: Updates.
        batch: Samples of each kind in one of them.
        rng: What the samples and the penalty's points are drawn from.
        objective: By name, as ``gpgan.objectives.get`` takes it.
        penalty: As ``CriticStep`` takes it, and ``lazy`` and ``max_weight``.
        lr, betas: Of Adam.
        lazy: The penalty at every so many steps.
        max_weight: The limit of weight clipping.
        progress: Told how far it is.
        each: Called after each step with its number, from 1.
    """
    step = _critic_step(critic, objective, penalty, lr, betas, max_weight, lazy)
    for turn in range(steps):
        step(draw_real(batch, rng), draw_fake(batch, rng), generator=rng)
        if progress is not None and (turn + 1) % max(1, steps // TOLD) == 0:
            progress((turn + 1) / steps, "training a critic")
        if each is not None:
            each(turn + 1)


def train_gan(
    generator: nn.Module,
    critic: nn.Module,
    draw_real: Draw,
    *,
    steps: int,
    batch: int,
    latent: int,
    rng: torch.Generator,
    objective: str,
    penalty: Penalty | None,
    n_critic: int,
    lr: float,
    betas: tuple[float, float],
    max_weight: float | None = None,
    each: Callable[[int], None] | None = None,
) -> None:
    """Trains generator and critic in turn, both with Adam: ``n_critic`` updates of the critic, then one of the generator.

    Args:
        generator: Latents ``[B, latent]``, standard normal, to samples ``[B, D]``.
        critic: ``[B, D]`` to scores ``[B]``.
        draw_real: Gives samples ``[batch, D]``.
        steps: Updates of the generator.
        batch: Samples in one update of either.
        latent: Numbers that a sample is made from.
        rng: What samples, latents and the penalty's points are drawn from.
        objective: By name, as ``gpgan.objectives.get`` takes it.
        penalty: As ``CriticStep`` takes it, and ``max_weight``.
        n_critic: Updates of the critic for one of the generator.
        lr, betas: Of Adam, for both.
        max_weight: The limit of weight clipping.
        each: Called after each step with its number, from 1.
    """
    chosen = objectives.get(objective)
    step = _critic_step(critic, objective, penalty, lr, betas, max_weight)
    optimizer = torch.optim.Adam(generator.parameters(), lr, betas, fused=True)

    def fakes() -> Tensor:
        made: Tensor = generator(torch.randn(batch, latent, generator=rng))
        return made

    for turn in range(steps):
        for _ in range(n_critic):
            with torch.no_grad():
                fake = fakes()
            step(draw_real(batch, rng), fake, generator=rng)
        with frozen(critic.parameters()):
            real = draw_real(batch, rng) if chosen.paired else None
            loss = verdict(chosen, critic, fakes(), real)
        descend(optimizer, loss)
        if each is not None:
            each(turn + 1)


def _critic_step(
    critic: nn.Module,
    objective: str,
    penalty: Penalty | None,
    lr: float,
    betas: tuple[float, float],
    max_weight: float | None,
    lazy: int = 1,
) -> CriticStep:
    optimizer = torch.optim.Adam(critic.parameters(), lr, betas)
    terms = objectives.get(objective).critic
    return CriticStep(critic, optimizer, penalty=penalty, objective=terms, lazy=lazy, max_weight=max_weight)
