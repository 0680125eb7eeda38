"""Finds operators without a double backward in the penalty's graph, before the caller's backward fails on them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from gpgan import torch_private
from gpgan.penalty import graph
from gpgan.pruning.mode import NODES as PRUNED_NODES
from gpgan.util.warn import warn_once

# The node types that autograd uses for a missing derivative, and for a second derivative ruled out by
# once_differentiable. If a torch renames them, the caller's backward raises torch's own error instead.
NOT_IMPLEMENTED = "NotImplemented"
RULED_OUT = "Error"
# Node types that only raise, and the operators whose derivatives they stand for.
RAISING = {
    "CudnnRnnBackwardBackward0": "aten::_cudnn_rnn_backward",
    "PdistBackwardBackward0": "aten::_pdist_backward",
    "CdistBackwardBackward0": "aten::_cdist_backward",
    "CompiledFunctionBackwardBackward": "a compiled graph (aot_autograd)",
}
FAILING = frozenset({NOT_IMPLEMENTED, RULED_OUT, *RAISING})
CURES = {
    "attention": "run the critic inside torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)",
    "cudnn_rnn": "run the critic inside torch.backends.cudnn.flags(enabled=False)",
}
OTHERWISE = 'pass method="finite_difference", which needs no double backward'


def refuse_failing(reached: Iterable[Any], behind: list[Any], x: Tensor) -> None:
    """Raises if the backward of the penalty would fail or be silently wrong. Runs on every call, so it must be fast.

    Args:
        reached: The nodes that the penalty depends on.
        behind: The nodes that the scores depend on.
        x: The leaf ``[B, ...]`` that the scores were computed from.

    Raises:
        RuntimeError: The message names the operator and the cure.
    """
    if not FAILING.isdisjoint(graph.kinds(reached)):
        failing = next(node for node in reached if type(node).__name__ in FAILING)
        raise RuntimeError(_message(_operator(failing, behind)))
    # once_differentiable raises only if the incoming gradient has a graph. The gradient of a sum of scores has none, so
    # the function's part of the second derivative would be silently lost.
    for node in [node for node in behind if isinstance(node, BackwardCFunction)]:
        once = torch_private.is_once_differentiable(node)
        if once is False or (once is None and type(node).__name__ in PRUNED_NODES):
            continue
        if torch.autograd.graph.get_gradient_edge(x).node in graph.nodes(node):
            if once:
                raise RuntimeError(_message(_named([node])))
            warn_once(
                f"gpgan cannot see in torch {torch.__version__} whether {type(node).__name__.removesuffix('Backward')} is "
                "marked once_differentiable; if it is, its part of the penalty's gradient is missing. Pass "
                'method="finite_difference"'
            )


def explain_first_derivative(error: RuntimeError, behind: list[Any]) -> RuntimeError:
    """The error to raise if the critic's first derivative, computed with create_graph, raised ``error``."""
    if torch_private.REENTRANT_NODE in graph.kinds(behind):
        return RuntimeError(
            'critic uses torch.utils.checkpoint with use_reentrant=True, which method="exact" cannot differentiate; '
            f"pass use_reentrant=False to checkpoint, or {OTHERWISE}"
        )
    return error


def _operator(node: Any, behind: list[Any]) -> str:
    """The operator whose derivative is missing."""
    kind = type(node).__name__
    if kind in RAISING:
        return RAISING[kind]
    if kind == RULED_OUT:
        return _named([n for n in behind if torch_private.is_once_differentiable(n)])
    try:
        # Only the error message names the operator, and only running the node raises it.
        torch_private.run_without_gradients(node)
    except RuntimeError as error:
        found = re.search(r"derivative for (\S+)", str(error))
        if found is not None:
            return found[1]
    return "one of its operators"


def _named(functions: list[Any]) -> str:
    names = sorted({torch_private.function_name(node) for node in functions})
    return f"{' or '.join(names) or 'an autograd.Function'} (marked once_differentiable)"


def _message(operator: str) -> str:
    cures = [cure for part, cure in CURES.items() if part in operator]
    return (
        f'critic has no double backward, which method="exact" needs: {operator} has no derivative; '
        f"{', or '.join([*cures, OTHERWISE])}"
    )
