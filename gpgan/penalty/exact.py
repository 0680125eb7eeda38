"""The penalty's gradient by double backward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gpgan.penalty import failures, graph
from gpgan.penalty.eager import uncompiled
from gpgan.pruning.mode import Pruning


class Exact:
    """One penalty by double backward.

    Args:
        run: From points ``[B, ...]`` to the critic's scores there.
        x: ``[B, ...]``, a leaf that requires grad.
        pruned: Leave out what is known to be zero.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], x: Tensor, pruned: bool) -> None:
        self.run, self.x, self.pruned = run, x, pruned

    def scores(self) -> Tensor:
        # A compiled graph has no double backward. Also where no compiled critic is seen: it may hide in a partial or a
        # closure.
        with uncompiled(), Pruning() if self.pruned else contextlib.nullcontext():
            return self.run(self.x)

    def gradient(self, scores: Tensor, seed: Tensor, behind: list[Any]) -> Tensor | None:
        """seed . d scores / dx ``[B, ...]`` with a graph of its own; None where the scores do not depend on x."""
        try:
            return torch.autograd.grad(scores, self.x, seed, create_graph=True, allow_unused=True)[0]
        except RuntimeError as error:
            explained = failures.explain_first_derivative(error, behind)
            if explained is error:
                raise
            raise explained from error

    def finish(
        self, penalty: Tensor, norms: Tensor, grads: Tensor, behind: list[Any], value: Callable[[Tensor], Any]
    ) -> Tensor:
        """The penalty, once it is sure that its backward will work."""
        if penalty.grad_fn is None:
            return penalty
        reached = set(graph.nodes(penalty.grad_fn))
        failures.refuse_failing(reached, behind, self.x)
        return graph.reach_every_leaf(penalty, reached, behind, self.x) if self.pruned else penalty
