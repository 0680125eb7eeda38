"""What an objective is."""

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
    """What critic and generator minimise, as pure functions of the critic's scores.

    Attributes:
        name: As ``gpgan train --objective`` takes it.
        critic: ``(real_term, fake_term)``, whose sum the critic minimises; or one function of (real scores, fake scores)
            where it compares the two. ``CriticStep(objective=...)`` takes either.
        generator: What the generator minimises: a function of the fake scores, or of (real scores, fake scores) where
            ``critic`` is one.
        divergence: What the best critic's loss measures between the two distributions, in words.
        symbol: The same, short.
        chance: The best critic's loss where the distributions are the same.
        per_loss: How much of the divergence one unit of loss below ``chance`` is.
    """

    name: str
    critic: tuple[Term, Term] | PairedTerm
    generator: Term | PairedTerm
    divergence: str
    symbol: str
    chance: float
    per_loss: float

    @property
    def paired(self) -> bool:
        """Whether both losses compare real scores with fake ones."""
        return not isinstance(self.critic, tuple)

    def critic_loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """0-d, of scores ``[B, ...]`` each."""
        return loss_of(self.critic, real_scores, fake_scores)

    def generator_loss(self, real_scores: Tensor | None, fake_scores: Tensor) -> Tensor:
        """0-d, of scores ``[B, ...]``. The real ones may be None where the objective is not paired.

        Raises:
            ValueError: They are None and the objective is paired.
        """
        if not self.paired:
            return self.generator(full(fake_scores))  # type: ignore[call-arg]
        if real_scores is None:
            raise ValueError(
                f"real_scores is None, and the {self.name} objective compares both; expected scores [B, ...]"
            )
        return self.generator(full(real_scores), full(fake_scores))  # type: ignore[call-arg]

    def estimate(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The divergence as far as this critic sees it, 0-d: a lower bound of it, up to the scores' sampling noise.

        The Wasserstein distance is one for a critic of slope 1 at most; a penalised one may be steeper.
        """
        return self.per_loss * (self.chance - self.critic_loss(real_scores, fake_scores))


def loss_of(critic: tuple[Term, Term] | PairedTerm, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """The critic's loss, 0-d, of scores ``[B, ...]`` each."""
    if isinstance(critic, tuple):
        return critic[0](full(real_scores)) + critic[1](full(fake_scores))
    return critic(full(real_scores), full(fake_scores))


def full(scores: Tensor) -> Tensor:
    """Half-precision scores as float32, others as they are: a mean of the former has no digits for a small difference."""
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
