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
    """Runs the critic and its explicit schedule (gpgan/schedule) at every step."""

    def __init__(
        self, settings: Settings, trial: Schedule, rows: int, apart: bool, memory_format: torch.memory_format
    ) -> None:
        """
        Args:
            trial: The schedule of a penalised step on ``rows`` samples.
            apart: Whether the penalty's points run as a separate batch.
            memory_format: The memory format of the batch.
        """
        self.settings, self.form, self.apart, self.memory_format = settings, trial.form, apart, memory_format
        done, forward_of_points = trial.operations()
        self.cost: float | None = done / (forward_of_points * rows / trial.point_rows)
        self.serial = done < SERIAL
        self.learned: list[nn.Parameter] = []

    def __call__(self, inputs: Inputs, term: PenaltyTerm | None) -> CriticStats:
        return self.apply(self.sweep, self.memory_format, inputs, term)

    def apply(
        self, sweep: Sweep, memory_format: torch.memory_format, inputs: Inputs, term: PenaltyTerm | None
    ) -> CriticStats:
        """Sets the parameters' gradients to those that ``sweep`` computes from one batch."""
        parts = [inputs.real, inputs.fake, *([] if term is None else [term.x])]
        with torch.no_grad(), self.settings.casting(inputs.real.device):
            stats, gradients = sweep(torch.cat(parts).contiguous(memory_format=memory_format), term)
        if not gradients:
            raise ValueError(NOTHING_TO_LEARN)
        self.learned = list(gradients)
        for parameter, gradient in gradients.items():
            if parameter.requires_grad:
                parameter.grad = gradient
        return stats

    def sweep(self, batch: Tensor, term: PenaltyTerm | None) -> tuple[CriticStats, Gradients]:
        """Statistics and gradients.

        Args:
            batch: Real samples, fake samples and the penalty's points, ``[2B, ...]`` to ``[4B, ...]``.

        Raises:
            Unsupported: The critic ran other operations than in its trial run.
        """
        batches = 0 if term is None else term.penalty.batches
        rows = batch.shape[0] // (2 + batches)
        point_rows = batches * rows
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
        sizes = [(2 * rows, 0), (0, point_rows)] if self.apart and point_rows else [(2 * rows, point_rows)]
        scores: list[Tensor] = []
        for part, (plain, ends) in zip(torch.split(batch, [sum(size) for size in sizes]), sizes, strict=True):
            tape, out = run(self.settings.critic, part)
            if tape.form() != self.form:
                raise Unsupported("it ran other operations than in its trial run")
            scores.append(out)
            Schedule(tape, out, ends).gradients(self._seed(out, plain // 2), direction, gradients)
        return CriticStats(
            scores[0][:rows], scores[0][rows : 2 * rows], value, norms, self.settings.objective
        ), gradients

    def _seed(self, scores: Tensor, rows: int) -> Tensor:
        """d loss / d score for real and fake, ``rows`` each, and ones for the points, whose scores are summed."""
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
    """Runs the critic on a batch without autograd. Returns the record of its operations, and its scores.

    Raises:
        Unsupported: The schedule does not know one of its operations.
    """
    if backward_hooks(critic):
        raise Unsupported("a module with backward hooks")
    with Tape(batch) as tape:
        scores = critic(batch)
    if tape.failure is not None:
        raise Unsupported(tape.failure)
    if not isinstance(scores, Tensor) or scores.shape[:1] != batch.shape[:1]:
        raise Unsupported("its output is not a tensor [B, ...]")
    if not scores.is_floating_point():
        raise Unsupported("its output is not a floating point tensor")
    tape.number(scores)
    return tape, scores


def backward_hooks(critic: Critic) -> bool:
    """Whether a module has backward hooks. Runs at every step, so it must be fast."""
    waiting: list[Any] = [critic]
    while waiting:
        module = waiting.pop()
        if isinstance(module, nn.Module):
            if has_backward_hooks(module):
                return True
            waiting.extend(submodules(module))
    return False
