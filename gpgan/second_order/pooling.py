"""Max and average pooling, adaptive too, whose second derivative is absent.

PyTorch's own operator runs on a copy of the input that is cut off from the graph, so that the zeros of its second
derivative end at the copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _CutOff(torch.autograd.Function):
    """The outputs of an operator as a function of its input, where they were computed from a copy of it."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, copy: Tensor, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        ctx.copy, ctx.values = copy, outputs[0]
        results = tuple(output.detach() for output in outputs)
        ctx.mark_non_differentiable(*results[1:])  # the indices of max pooling
        return results

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        (input_grad,) = torch.autograd.grad(
            ctx.values, ctx.copy, grad, retain_graph=True, create_graph=torch.is_grad_enabled()
        )
        return input_grad, None, None


def _cut_off(operator: Callable[..., Any]) -> Callable[..., Any]:
    def pool(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        copy = input.detach().requires_grad_()
        out = operator(copy, *args, **kwargs)
        results = _CutOff.apply(input, copy, out if isinstance(out, tuple) else (out,))
        return results if isinstance(out, tuple) else results[0]

    return pool


OPERATORS: tuple[Any, ...] = (
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d),
    *(F.max_pool1d_with_indices, F.max_pool2d_with_indices, F.max_pool3d_with_indices),
    *(torch.max_pool1d, torch.max_pool2d, torch.max_pool3d, torch.max_pool1d_with_indices),
    *(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    *(torch._C._nn.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool3d),
    *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
    *(F.adaptive_max_pool1d_with_indices, F.adaptive_max_pool2d_with_indices, F.adaptive_max_pool3d_with_indices),
    torch.adaptive_max_pool1d,
    *(torch._C._nn.adaptive_max_pool2d, torch._C._nn.adaptive_max_pool3d),
)
REPLACEMENTS: dict[Any, Callable[..., Any]] = {operator: _cut_off(operator) for operator in OPERATORS}
