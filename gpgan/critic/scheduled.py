"""The path for critics that are sums of chains of layers: the explicit schedule, without autograd."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.critic.common import NOTHING_TO_LEARN, SERIAL, CriticStats, Inputs, PenaltyTerm, Settings
from gpgan.objectives.wasserstein import WASSERSTEIN
from gpgan.penalty import Critic
from gpgan.schedule.maps import Gradients
from gpgan.schedule.sweeps import Schedule
from gpgan.schedule.tape import Tape, Unsupported
from gpgan.torch_private import has_backward_hooks, submodules

Sweep = Callable[[Tensor, PenaltyTerm | None], tuple[CriticStats, Gradients]]


class Scheduled:
    """The explicit schedule of gpgan/schedule, run anew at every step."""

    def __init__(
        self, settings: Settings, trial: Schedule, rows: int, apart: bool, memory_format: torch.memory_format
    ) -> None:
        """
        Args:
            trial: The schedule of a penalised step on ``rows`` samples.
            apart: Whether the penalty's points run in a batch of their own.
            memory_format: Of the batch.
        """
        self.settings, self.form, self.apart, self.memory_format = settings, trial.form, apart, memory_format
        done, forward_of_points = trial.operations()
        self.cost: float | None = done / (forward_of_points * rows / trial.points)
        self.serial = done < SERIAL

    def __call__(self, inputs: Inputs, term: PenaltyTerm | None) -> CriticStats:
        return self.apply(self.sweep, self.memory_format, inputs, term)

    def apply(
        self, sweep: Sweep, memory_format: torch.memory_format, inputs: Inputs, term: PenaltyTerm | None
    ) -> CriticStats:
        """Gives the parameters the gradients that sweep computes of one batch."""
        parts = [inputs.real, inputs.fake, *([] if term is None else [term.points])]
        with torch.no_grad(), self.settings.casting(inputs.real.device):
            stats, gradients = sweep(torch.cat(parts).contiguous(memory_format=memory_format), term)
        if not gradients:
            raise ValueError(NOTHING_TO_LEARN)
        for parameter, gradient in gradients.items():
            if parameter.requires_grad:
                parameter.grad = gradient
        return stats

    def sweep(self, batch: Tensor, term: PenaltyTerm | None) -> tuple[CriticStats, Gradients]:
        """Statistics and gradients.

        Args:
            batch: Real samples, fake ones and the term's points ``[2B + its rows, ...]``.

        Raises:
            Unsupported: The critic did other things than in its trial run.
        """
        batches = 0 if term is None else term.penalty.batches
        rows = batch.shape[0] // (2 + batches)
        points = batches * rows
        value = norms = None

        def direction(g: Tensor) -> Tensor:
            nonlocal value, norms
            assert term is not None
            penalty = term.penalty
            value, norms, v = term.backend.gradient_norm_penalty_with_direction(
                g, penalty.weight, penalty.target, penalty.one_sided, "mean"
            )
            return v.to(g.dtype)

        gradients: Gradients = {}
        sizes = [(2 * rows, 0), (0, points)] if self.apart and points else [(2 * rows, points)]
        scores: list[Tensor] = []
        for part, (plain, ends) in zip(torch.split(batch, [sum(size) for size in sizes]), sizes, strict=True):
            tape, out = run(self.settings.critic, part)
            if tape.form() != self.form:
                raise Unsupported("it did other things than in its trial run")
            scores.append(out)
            Schedule(tape, out, ends).gradients(self._seed(out, plain // 2), direction, gradients)
        return CriticStats(
            scores[0][:rows], scores[0][rows : 2 * rows], value, norms, self.settings.objective
        ), gradients

    def _seed(self, scores: Tensor, rows: int) -> Tensor:
        """d loss / d score of real and fake, so many rows each, and ones for the points, whose scores are summed."""
        if not rows:
            return torch.ones_like(scores)
        if self.settings.objective == WASSERSTEIN.critic:
            return _wasserstein_seed(scores.shape, rows, scores.dtype, scores.device)
        seed = torch.ones_like(scores)
        with torch.enable_grad():
            leaf = scores[: 2 * rows].detach().requires_grad_()
            (seed[: 2 * rows],) = torch.autograd.grad(self.settings.loss(leaf[:rows], leaf[rows:]), leaf)
        return seed


@functools.lru_cache(maxsize=8)
def _wasserstein_seed(shape: torch.Size, rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    seed = torch.ones(shape, dtype=dtype, device=device)
    share = 1 / seed[:rows].numel()
    seed[:rows], seed[rows : 2 * rows] = -share, share
    return seed


def run(critic: Critic, batch: Tensor) -> tuple[Tape, Tensor]:
    """The critic's run over batch and its scores, without autograd.

    Raises:
        Unsupported: The schedule does not know how to take it apart.
    """
    if backward_hooks(critic):
        raise Unsupported("a module with backward hooks")
    with Tape(batch) as tape:
        scores = critic(batch)
    if tape.failure is not None:
        raise Unsupported(tape.failure)
    if not isinstance(scores, Tensor) or scores.shape[:1] != batch.shape[:1]:
        raise Unsupported("its output is no tensor [B, ...]")
    if not scores.is_floating_point():
        raise Unsupported("its output is no floating point tensor")
    tape.number(scores)
    return tape, scores


def backward_hooks(critic: Critic) -> bool:
    """Whether a module waits for gradients to pass through it. Runs at every step: kept quick."""
    waiting: list[Any] = [critic]
    while waiting:
        module = waiting.pop()
        if isinstance(module, nn.Module):
            if has_backward_hooks(module):
                return True
            waiting.extend(submodules(module))
    return False
