"""The inputs and results of every path."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gpgan.objectives.objective import PairedTerm, Term, full, loss_of
from gpgan.ops.backend import Backend
from gpgan.penalty import Critic, Penalty

CriticLoss = tuple[Term, Term] | PairedTerm
"""(real_term, fake_term), or one function of (real scores, fake scores), as ``Objective.critic``."""


@dataclass(frozen=True)
class CriticStats:
    """The numbers of a step, before its update: detached tensors on the critic's device. Reading one does not
    synchronise."""

    real_scores: Tensor
    """``[B, ...]``"""
    fake_scores: Tensor
    """``[B, ...]``"""
    penalty: Tensor | None
    """0-d, multiplied by ``lazy``. None at a step without penalty, as are ``norms``, ``norm_mean`` and ``norm_max``"""
    norms: Tensor | None
    """``[B]``: the critic's gradient norms at the points; with ``points="both"`` ``[2B]``, real, then fake"""
    objective: CriticLoss

    @property
    def loss(self) -> Tensor:
        """Objective plus penalty, 0-d."""
        with torch.no_grad():
            loss = loss_of(self.objective, self.real_scores, self.fake_scores)
            return loss if self.penalty is None else loss + self.penalty

    @property
    def wasserstein(self) -> Tensor:
        """mean(f(real)) - mean(f(fake)), 0-d: the estimate of the Wasserstein distance, for every objective."""
        return full(self.real_scores).mean() - full(self.fake_scores).mean()

    @property
    def norm_mean(self) -> Tensor | None:
        return None if self.norms is None else self.norms.mean()

    @property
    def norm_max(self) -> Tensor | None:
        return None if self.norms is None else self.norms.amax()


@dataclass(frozen=True)
class Inputs:
    """The arguments of one step."""

    real: Tensor
    fake: Tensor
    alpha: Tensor | None
    rng: torch.Generator | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any] | None


@dataclass(frozen=True)
class PenaltyTerm:
    """The penalty of one step."""

    penalty: Penalty
    backend: Backend
    x: Tensor
    """The points ``[B, ...]`` (``[2B, ...]`` with ``points="both"``), a leaf that requires grad"""


@dataclass(frozen=True)
class Settings:
    """The settings of a step that a path needs."""

    critic: Critic
    objective: CriticLoss
    autocast: torch.dtype | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None = None

    def casting(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, self.autocast)

    def casting_penalty(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """float16 would overflow in the squares and second derivatives of a penalty, which therefore stays float32."""
        return contextlib.nullcontext() if self.autocast == torch.float16 else self.casting(device)

    def scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)

    def loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The critic's loss without penalty, 0-d."""
        if isinstance(self.objective, tuple):
            return self.term(0, real_scores) + self.term(1, fake_scores)
        return _checked("objective", loss_of(self.objective, real_scores, fake_scores))

    def term(self, which: int, scores: Tensor) -> Tensor:
        """The real term (0) or the fake term (1) of an objective of two terms, 0-d."""
        assert isinstance(self.objective, tuple)
        return _checked(f"objective's {('real', 'fake')[which]} term", self.objective[which](full(scores)))


def _checked(name: str, loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        came = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise ValueError(f"{name} returned {came}; expected a 0-d Tensor, e.g. a mean over the scores")
    return loss


NOTHING_TO_LEARN = (
    "critic's scores do not depend on its parameters (is it computed under no_grad, detached or frozen?); expected scores "
    "with a graph"
)


# Multiply-adds of a step below which a second thread costs more than it gains. Measured: an MLP 2-64-64-64-1 over 64
# samples (5.5 million) takes 0.75 of the time on one thread, one of width 96 (12 million) 1.13.
SERIAL = 2**23


class Path(Protocol):
    cost: float | None
    """Operations of a penalised step in F, one forward over B; None where unknown."""
    serial: bool
    """Whether the step runs faster on one CPU thread."""

    @property
    def learned(self) -> Sequence[Tensor]:
        """The parameters that got gradients in the last step, in the optimizer or not."""

    def __call__(self, inputs: Inputs, term: PenaltyTerm | None) -> CriticStats:
        """Computes the gradients of all parameters as new tensors. Those that the optimizer holds must have none before."""
