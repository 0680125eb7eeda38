"""The penalty at given points, from checked arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gpgan.ops.backend import Backend
from gpgan.penalty.calls import call
from gpgan.penalty.checks import BatchNormCalls, check_scores
from gpgan.penalty.exact import exact
from gpgan.penalty.finite_difference import FiniteDifference
from gpgan.penalty.penalty import Critic, Penalty
from gpgan.penalty.request import Request
from gpgan.torch_private import batch_norm_shows


def penalty_at(
    critic: Critic,
    x: Tensor,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    penalty: Penalty,
    backend: Backend,
    reduction: str = "mean",
    scale: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The penalty with its graph, and the norms. Trusts its arguments; checks only the critic's scores.

    Args:
        critic: Called as ``critic(points, *args, **kwargs)``.
        x: The points ``[B, ...]``, a leaf that requires grad.
        penalty: Its ``points`` are already drawn, as x.
        scale: 0-d float32, multiplies the critic's gradient while it is computed.
    """

    calls = None if penalty.allow_batch_coupling or batch_norm_shows() else BatchNormCalls()

    def run(points: Tensor) -> Tensor:
        with calls or contextlib.nullcontext():
            return check_scores(call(critic, points, args, kwargs), len(points))

    def value(grads: Tensor) -> tuple[Tensor, Tensor]:
        return backend.gradient_norm_penalty(grads, penalty.weight, penalty.target, penalty.one_sided, reduction)

    request = Request(critic, run, x, value, penalty.allow_batch_coupling, scale, calls)
    if penalty.method == "exact":
        return exact(request, pruned=penalty.second_order == "pruned")
    return FiniteDifference(request)()
