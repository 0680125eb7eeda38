"""Reads the autograd graph."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from gpgan.pruning.mode import NODES as PRUNED_NODES
from gpgan.torch_private import leaf_of

# The node types of linear operators, whose arguments all get a gradient if the result does.
LINEAR_NODES = PRUNED_NODES | {
    *("MmBackward0", "AddmmBackward0", "BmmBackward0", "MulBackward0", "AddBackward0", "SubBackward0")
}


def nodes(root: Any) -> list[Any]:
    """The nodes that a node depends on, itself included, each once. Runs on every call, so it must be fast."""
    found = [root]
    seen = {root}
    for node in found:
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                found.append(parent)
    return found


def kinds(found: Iterable[Any]) -> set[str]:
    """The names of the node types. Runs on every call too."""
    return {kind.__name__ for kind in set(map(type, found))}


def leaves(behind: list[Any]) -> list[Tensor]:
    """The leaf tensors among nodes."""
    return [leaf for leaf in map(leaf_of, behind) if leaf is not None]


class _WithZeros(torch.autograd.Function):
    """Returns the value; gives zero gradients to leaves that it does not depend on."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *leaves: Tensor) -> Tensor:
        ctx.leaves = leaves
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return grad, *(torch.zeros_like(leaf) for leaf in ctx.leaves)


def reach_every_leaf(value: Tensor, grads: Tensor, behind: list[Any], x: Tensor) -> Tensor:
    """Gives a gradient of zeros to every leaf that may get none.

    Without this, a parameter that does not affect the penalty would have no gradient after the backward of a penalty
    alone. Optimizers skip such a parameter, so its weight decay would be lost.

    Args:
        value: The penalty.
        grads: The critic's gradients, that it is computed from.
        behind: The nodes that the scores depend on; x needs no gradient.
        x: The penalty's points.
    """
    reached = _certain(grads.grad_fn)
    missed = [leaf for leaf in leaves([node for node in behind if node not in reached]) if leaf is not x]
    return _WithZeros.apply(value, *missed) if missed else value


def _certain(root: Any) -> set[Any]:
    """The nodes that certainly get a gradient if root does. An operator may give none to its later arguments, such as
    the double backward of layer_norm to the bias; zeros for all leaves would be slower for the large ones."""
    found = [root]
    seen = {root}
    for node in found:
        for parent, _ in node.next_functions[: _certain_arguments(type(node))]:  # type: ignore[arg-type]
            if parent is not None and parent not in seen:
                seen.add(parent)
                found.append(parent)
    return seen


@functools.lru_cache(maxsize=1024)
def _certain_arguments(node: type) -> int | None:
    """How many of the arguments of this type of node certainly get a gradient; None for all."""
    # An autograd.Function of the user's may return None for any argument.
    if issubclass(node, BackwardCFunction) and node.__name__ not in PRUNED_NODES:
        return 0
    return None if node.__name__ in LINEAR_NODES else 1
