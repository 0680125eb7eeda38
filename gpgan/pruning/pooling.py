"""Max and average pooling, also adaptive, without a second derivative.

PyTorch's own operator runs on a detached copy of the input, so the zeros of its second derivative stop at the copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from gpgan.pruning.operators import POOLING


class _End(torch.autograd.Function):
    """Identity that requires grad and discards its gradient."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, input: Tensor) -> Tensor:
        return input.view_as(input)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        return None, None


class _CutOff(torch.autograd.Function):
    """Connects outputs computed on a detached copy to the original input."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, run: Callable[[], tuple[GradientEdge, tuple[Tensor, ...]]]
    ) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            ctx.end, outputs = run()
        ctx.set_materialize_grads(False)
        ctx.values = outputs[0]
        results = tuple(output.detach() for output in outputs)
        ctx.mark_non_differentiable(*results[1:])  # the indices of max pooling
        return results

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, None]:
        if grad is None:
            return None, None
        graph = torch.is_grad_enabled()
        return torch.autograd.grad(ctx.values, ctx.end, grad, retain_graph=True, create_graph=graph)[0], None


def _cut_off(operator: Callable[..., Any]) -> Callable[..., Any]:
    def pool(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        outputs: Any = None

        def run() -> tuple[GradientEdge, tuple[Tensor, ...]]:
            nonlocal outputs
            copy = _End.apply(torch.zeros((), requires_grad=True), input.detach())
            outputs = operator(copy, *args, **kwargs)
            # The edge, not the copy: the input may be changed in place later, and the copy shares its memory.
            return get_gradient_edge(copy), outputs if isinstance(outputs, tuple) else (outputs,)

        results = _CutOff.apply(input, run)
        return results if isinstance(outputs, tuple) else results[0]

    return pool


REPLACEMENTS: dict[Any, Callable[..., Any]] = {operator: _cut_off(operator) for operator in POOLING}
