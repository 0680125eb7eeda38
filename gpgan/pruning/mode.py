"""The mode in which the critic's forward runs, so that its double backward has no branch that is known to be zero.

Autograd gives the backward of a piecewise-linear activation a second derivative made of zeros, and pushes them through
every layer before it: a sixth of a penalised critic step (Etmann, arXiv 1906.06637). In this mode those operators run
in a form whose second derivative is absent, and convolutions in one whose double backward takes the direct way.
Nothing else is touched, and the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gpgan import torch_private
from gpgan.pruning import activations, convolution, pooling

# An operator, as torch hands it to a mode, and what runs in its place.
REPLACEMENTS: dict[Any, Callable[..., Any]] = activations.REPLACEMENTS | pooling.REPLACEMENTS | convolution.REPLACEMENTS

# The nodes that they leave in the graph.
NODES = frozenset(
    f"{function.__name__}Backward" for function in (activations._Activation, convolution._Convolution, pooling._CutOff)
)


def is_plain(value: Any) -> bool:
    return type(value) in (Tensor, nn.Parameter)


def _applies(input: Any) -> bool:
    """Whether autograd records what is done to input, and nothing but autograd does."""
    return (
        is_plain(input)
        and input.requires_grad
        and input.is_floating_point()
        and torch.is_grad_enabled()
        and not torch_private.transformed()
        # A checkpoint runs its part again in the backward, outside of this mode, and expects it to save the same tensors.
        and not torch_private.in_checkpoint()
    )


class Pruning(TorchFunctionMode):
    """Within the block, operators whose second derivative is zero have none."""

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
