"""The path for sums of chains: the explicit schedule, without autograd."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.critic.common import NOTHING_TO_LEARN, SERIAL, CriticStats, Inputs, Settings
from gpgan.objectives.wasserstein import WASSERSTEIN
from gpgan.ops.backend import backend_for
from gpgan.penalty import Critic, Penalty
from gpgan.schedule.maps import Gradients
from gpgan.schedule.sweeps import Schedule
from gpgan.schedule.tape import Tape, Unsupported


class Scheduled:
    """The explicit schedule of second_order/schedule.py."""

    def __init__(
        self, settings: Settings, trial: Schedule, rows: int, apart: bool, memory_format: torch.memory_format
    ) -> None:
        """trial: of a penalised step on ``rows`` samples; apart: whether the penalty's points run in a batch of their own."""
        self.settings, self.form, self.apart, self.memory_format = settings, trial.form, apart, memory_format
        done, forward_of_points = trial.operations()
        forward = forward_of_points * rows / trial.points
        self.serial = done < SERIAL
        self.plan = (
            "scheduled path: the critic is a sum of chains of linear maps and piecewise-linear activations, whose "
            f"derivatives are computed without autograd ({done / forward:.2f}F with the penalty, F being one forward over B)"
        )

    def __call__(self, inputs: Inputs, points: Tensor | None, penalty: Penalty | None) -> CriticStats:
        parts = [part for part in (inputs.real, inputs.fake, points) if part is not None]
        with torch.no_grad(), self.settings.casting(inputs.real.device):
            stats, gradients = self._sweep(torch.cat(parts), penalty)
        if not gradients:
            raise ValueError(NOTHING_TO_LEARN)
        for parameter, gradient in gradients.items():
            if parameter.requires_grad:
                parameter.grad = gradient
        return stats

    def _sweep(self, batch: Tensor, penalty: Penalty | None) -> tuple[CriticStats, Gradients]:
        batches = 0 if penalty is None else penalty.batches
        rows = batch.shape[0] // (2 + batches)
        points = batches * rows
        batch = batch.contiguous(memory_format=self.memory_format)
        value = norms = None

        def direction(g: Tensor) -> Tensor:
            nonlocal value, norms
            assert penalty is not None
            value, norms, v = backend_for(penalty.impl, g).gradient_norm_penalty_with_direction(
                g, weight=penalty.weight, target=penalty.target, one_sided=penalty.one_sided
            )
            return v.to(g.dtype)  # type: ignore[no-any-return]

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
            if module._backward_hooks or module._backward_pre_hooks:
                return True
            waiting.extend(module._modules.values())
    return False
