"""The dataclass of an objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Term = Callable[[Tensor], Tensor]
"""Scores ``[B, ...]`` to a loss, 0-d."""
PairedTerm = Callable[[Tensor, Tensor], Tensor]
"""Real scores and fake scores, each ``[B, ...]``, to a loss, 0-d."""


@dataclass(frozen=True)
class Objective:
    """The losses that critic and generator minimise, as pure functions of the critic's scores.

    Attributes:
        name: As ``gpgan train --objective`` takes it.
        critic: ``(real_term, fake_term)``, whose sum the critic minimises; or one function of (real scores, fake
            scores) if it compares the two.
        generator: What the generator minimises: a function of the fake scores, or of (real scores, fake scores) if
            ``critic`` is one.
        divergence: The divergence between the two distributions that the best critic's loss measures, in words. Empty
            if no closed form is known; then leave out the rest, and the critic's negated loss is reported instead.
        symbol: The same, short.
        chance: The best critic's loss if the two distributions are the same.
        per_loss: The divergence that one unit of loss below ``chance`` stands for.
    """

    name: str
    critic: tuple[Term, Term] | PairedTerm
    generator: Term | PairedTerm
    divergence: str = ""
    symbol: str = "-loss"
    chance: float = 0.0
    per_loss: float = 1.0

    @property
    def paired(self) -> bool:
        """Whether both losses compare real scores with fake scores."""
        return not isinstance(self.critic, tuple)

    def critic_loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The critic's loss, 0-d, from scores ``[B, ...]`` each."""
        return loss_of(self.critic, real_scores, fake_scores)

    def generator_loss(self, real_scores: Tensor | None, fake_scores: Tensor) -> Tensor:
        """The generator's loss, 0-d, from scores ``[B, ...]``. The real scores may be None unless the objective is
        paired.

        Raises:
            ValueError: The real scores are None and the objective is paired.
        """
        if not self.paired:
            return self.generator(full(fake_scores))  # type: ignore[call-arg]
        if real_scores is None:
            raise ValueError(
                f"real_scores is None, but the {self.name} objective compares real with fake scores; expected scores [B, ...]"
            )
        return self.generator(full(real_scores), full(fake_scores))  # type: ignore[call-arg]

    def estimate(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The critic's estimate of the divergence, 0-d: a lower bound, up to sampling noise; or its negated loss.

        For the Wasserstein distance it is a lower bound only if the critic's slope is at most 1. A gradient penalty
        allows steeper slopes.
        """
        return self.per_loss * (self.chance - self.critic_loss(real_scores, fake_scores))

    @property
    def estimated(self) -> str:
        """What ``estimate`` is, in words that follow "the critic's"."""
        return f"estimate of the {self.divergence}" if self.divergence else "loss, negated"


def loss_of(critic: tuple[Term, Term] | PairedTerm, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """The critic's loss, 0-d, from scores ``[B, ...]`` each."""
    if isinstance(critic, tuple):
        return critic[0](full(real_scores)) + critic[1](full(fake_scores))
    return critic(full(real_scores), full(fake_scores))


def full(scores: Tensor) -> Tensor:
    """Half-precision scores as float32, others unchanged: half precision cannot resolve small differences of means."""
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
