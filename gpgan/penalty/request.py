"""The request for one penalty, and the steps that both methods share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpgan.ops._checks import accumulate_dtype
from gpgan.penalty import graph, probe
from gpgan.penalty.checks import BatchNormCalls, refuse_batch_statistics
from gpgan.penalty.precision import epsilon
from gpgan.torch_private import without_dispatch_modes

# The largest power of two that float16 holds with room for one doubling.
FLOAT16_SEED_MAX = 2.0**14


@dataclass(frozen=True)
class Request:
    """The checked arguments of one penalty."""

    critic: Any
    """What ``run`` calls. Searched for modules."""
    run: Callable[[Tensor], Tensor]
    """From points ``[B, ...]``, which the critic may change, to its scores there."""
    x: Tensor
    """The points ``[B, ...]``, a leaf that requires grad."""
    value: Callable[[Tensor], tuple[Tensor, Tensor]]
    """From gradients ``[B, ...]`` to the penalty and the norms ``[B]``."""
    coupled: bool
    """Whether the samples of a batch may depend on each other."""
    scale: Tensor | None
    """0-d float32. The critic's gradient is computed multiplied by it, then divided by it in float32. None means 1."""
    calls: BatchNormCalls | None = None
    """The batch_norm calls of ``run``, if the graph does not show them."""

    @functools.cached_property
    def identity(self) -> probe.Identity:
        return probe.Identity(self.critic, self.coupled)

    def graph_behind(self, scores: Tensor) -> list[Any]:
        """The graph nodes that the scores at x depend on. Raises if the samples are coupled and must not be."""
        behind = [] if scores.grad_fn is None else graph.nodes(scores.grad_fn)
        if not self.coupled:
            refuse_batch_statistics(self.critic, behind, self.x, self.calls)
        return behind

    def input_gradient(
        self, scores: Tensor, differentiate: Callable[[Tensor], Tensor | None], rows: Tensor | None = None
    ) -> Tensor:
        """d sum(scores) / dx ``[B, ...]``.

        Args:
            scores: The scores at x.
            differentiate: From a seed, of the shape of the scores, to seed . d scores / dx, or None if there is none.
            rows: ``[B]``, bool: the samples whose scores are summed, or None for all.
        """
        # 1, and NaN where a score is NaN: NaN in the data reaches the scores, but not always their derivative, as the
        # slope of a LeakyReLU is finite there.
        seed = scores.detach()
        seed = torch.where(seed == seed, 1, seed)
        if rows is not None:
            seed = seed * rows.view(-1, *[1] * (seed.dim() - 1))
        scale = self.scale
        if scale is not None:
            # The scaled gradient of one score must be finite in float16, which the critic may use even if its scores
            # are float32. Any power of two unscales to the same number.
            scale = scale.clamp(max=FLOAT16_SEED_MAX)
            seed = seed * scale.to(scores.dtype)
        grads = differentiate(seed) if scores.requires_grad else None
        if grads is None:
            raise ValueError(
                "critic's scores do not depend on its input (is it computed under no_grad, detached, or of another tensor?); "
                "expected a critic that is differentiable in its first argument"
            )
        return grads if scale is None else grads.to(accumulate_dtype(grads.dtype)) / scale

    def unprobed(self) -> bool:
        """Whether the critic is still to be probed. Runs on every call, so it must be fast."""
        return self.identity.known() is None and not (self.x.is_cuda and torch.cuda.is_current_stream_capturing())

    def probe(
        self, scores: Tensor, grads: Tensor, behind: list[Any], differentiate: Callable[[Tensor], Tensor | None]
    ) -> None:
        """Raises if the critic couples the samples and must not, and warns once of what makes its penalty useless.

        Args:
            scores: The scores at x.
            grads: Their input gradient ``[B, ...]``.
            behind: The graph nodes that the scores depend on.
            differentiate: As for ``input_gradient``.
        """
        with without_dispatch_modes():
            grads = grads.detach()
            couples: bool | None = False if self.coupled else None
            if len(grads) > 1 and not self.coupled:
                chosen = probe.half(len(grads), grads.device)
                of_half = self.input_gradient(scores, differentiate, chosen).detach()
                eps = epsilon(self.x, scores, graph.kinds(behind))
                couples = probe.judge_coupling(grads, of_half, chosen, eps)
            norms = torch.linalg.vector_norm(grads.unsqueeze(-1).flatten(1), dim=1, dtype=accumulate_dtype(grads.dtype))
            if probe.warn_of_scores(self.critic, scores, norms.amax().item()) and couples is not None:
                self.identity.remember(couples)
