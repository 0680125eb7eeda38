"""The penalty by double backward."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from gpgan.penalty import failures, graph
from gpgan.penalty.eager import uncompiled
from gpgan.penalty.request import Request
from gpgan.pruning.mode import Pruning


def exact(request: Request, pruned: bool) -> tuple[Tensor, Tensor]:
    """The penalty and the norms.

    Args:
        pruned: Skip second derivatives that are known to be zero.

    Raises:
        RuntimeError: The backward of the penalty would fail, or be silently wrong.
    """
    x = request.x
    # A compiled graph has no double backward. Always uncompiled: a compiled critic may hide in a partial or a closure.
    with uncompiled(), Pruning() if pruned else contextlib.nullcontext():
        scores = request.run(x.clone())  # not a leaf, which a critic could not change in place
    behind = request.graph_behind(scores)

    def differentiate(seed: Tensor) -> Tensor | None:
        try:
            return torch.autograd.grad(scores, x, seed, create_graph=True, allow_unused=True)[0]
        except RuntimeError as error:
            explained = failures.explain_first_derivative(error, behind)
            if explained is error:
                raise
            raise explained from error

    grads = request.input_gradient(scores, differentiate)
    if request.unprobed():
        request.probe(scores, grads, behind, lambda seed: torch.autograd.grad(scores, x, seed, retain_graph=True)[0])
    penalty, norms = request.value(grads)
    if penalty.grad_fn is None:
        return penalty, norms
    failures.refuse_failing(graph.nodes(penalty.grad_fn), behind, x)
    return graph.reach_every_leaf(penalty, grads, behind, x) if pruned else penalty, norms
