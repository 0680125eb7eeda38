"""The mode for the critic's forward that removes branches known to be zero from its double backward.

The second derivative of a piecewise-linear activation is zero, but autograd computes it and propagates the zeros
through every layer before it. That is a sixth of a penalised critic step (Etmann, arXiv 1906.06637). In this mode these
operators run in a form without a second derivative, and convolutions in a form with a direct double backward. Nothing
else changes, and the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gpgan import torch_private
from gpgan.pruning import activations, convolution, pooling

# From an operator, as torch passes it to a mode, to its replacement.
REPLACEMENTS: dict[Any, Callable[..., Any]] = activations.REPLACEMENTS | pooling.REPLACEMENTS | convolution.REPLACEMENTS

# The nodes that replacements leave in the graph.
NODES = frozenset(
    f"{function.__name__}Backward" for function in (activations._Activation, convolution._Convolution, pooling._CutOff)
)


def is_plain(value: Any) -> bool:
    return type(value) in (Tensor, nn.Parameter)


def _applies(input: Any) -> bool:
    """Whether autograd, and nothing else, records operations on input."""
    return (
        is_plain(input)
        and input.requires_grad
        and input.is_floating_point()
        and torch.is_grad_enabled()
        and not torch_private.transformed()
        # A checkpoint runs again in the backward, outside of this mode, and must save the same tensors.
        and not torch_private.in_checkpoint()
    )


class Pruning(TorchFunctionMode):
    """Within the block, operators with a zero second derivative run without one."""

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        replacement = REPLACEMENTS.get(func)
        if replacement is not None and _applies(args[0] if args else kwargs.get("input")):
            result = replacement(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return func(*args, **kwargs)
