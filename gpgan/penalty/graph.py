"""Reads the autograd graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gpgan.torch_private import leaf_of


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


def reach_every_leaf(value: Tensor, reached: set[Any], behind: list[Any], x: Tensor) -> Tensor:
    """Gives every other leaf a gradient, zero if pruned away.

    Without this, a parameter whose part of the penalty was pruned away would have no gradient after the backward of a
    penalty alone. Optimizers skip such a parameter, so its weight decay would be lost.

    Args:
        value: The penalty.
        reached: The nodes that the penalty depends on.
        behind: The nodes that the scores depend on; x needs no gradient.
        x: The penalty's points.
    """
    missed = [leaf for leaf in leaves([node for node in behind if node not in reached]) if leaf is not x]
    return _WithZeros.apply(value, *missed) if missed else value
