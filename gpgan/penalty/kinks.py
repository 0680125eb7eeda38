"""Holds piecewise-linear activations and max pooling on the side of their kinks where a first run found them.

A finite difference that crosses a kink divides the jump of a slope by its step. In a batch and a layer some samples
always cross one, and their error is as large as the gradient itself, for any step. With the kinks held, the critic has
the same first derivatives at x and no jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gpgan.pruning import operators
from gpgan.pruning.mode import is_plain
from gpgan.torch_private import in_checkpoint

RANDOM = frozenset((*operators.RRELU, *operators.RRELU_))
ELEMENTWISE = operators.ACTIVATIONS - RANDOM - {*operators.PRELU}
# Activations with a piece that does not go through zero.
BOUNDED = frozenset((*operators.HARDTANH, *operators.HARDTANH_, *operators.RELU6, *operators.RELU6_))
# For each operator, the form that also returns indices, and the number of dimensions that it pools over.
POOLING: dict[Any, tuple[Callable[..., tuple[Tensor, Tensor]], int]] = {
    **{func: (operators.MAX_POOL_WITH_INDICES[n][0], n) for n, funcs in operators.MAX_POOL.items() for func in funcs},
    **{func: (operators.ADAPTIVE_MAX_POOL_WITH_INDICES[n][0], n) for n, func in operators.ADAPTIVE_MAX_POOL.items()},
}


@dataclass
class _Held:
    """An operator of the first run: which one, its input's shape, and its linear form there."""

    func: Any
    shape: torch.Size
    run: Callable[..., Tensor]


def _elementwise(func: Any, input: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[..., Tensor]:
    with torch.enable_grad():
        leaf = input.detach().clone().requires_grad_()
        result = func(leaf.clone(), *args, **kwargs)  # a clone, as the operator may work in place
        (slope,) = torch.autograd.grad(result, leaf, torch.ones_like(result))
    if func not in BOUNDED:
        return lambda input, *_, **__: input * slope
    offset = result.detach() - slope * leaf.detach()
    return lambda input, *_, **__: torch.addcmul(offset, input, slope)


def _prelu(func: Any, input: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[..., Tensor]:
    positive = input.detach() > 0

    def run(input: Tensor, weight: Tensor) -> Tensor:
        if weight.dim() > 0 and input.dim() > 1:
            weight = weight.view(-1, *[1] * (input.dim() - 2))
        return torch.where(positive, input, input * weight)

    return run


def _pooling(func: Any, input: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[..., Tensor]:
    with_indices, dimensions = POOLING[func]
    _, indices = with_indices(input.detach(), *args, **kwargs)

    def run(input: Tensor, *_: Any, **__: Any) -> Tensor:
        return input.flatten(-dimensions).gather(-1, indices.flatten(-dimensions)).view_as(indices)

    return run


HOLD: dict[Any, Callable[..., Callable[..., Tensor]]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(operators.PRELU, _prelu),
    **dict.fromkeys(POOLING, _pooling),
}


class _Mode(TorchFunctionMode):
    """Calls ``what`` for each operator that can be held, ``passed`` for one that cannot."""

    def __init__(self, what: Callable[..., Any], passed: Callable[[], None]) -> None:
        super().__init__()
        self.what, self.passed = what, passed

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in HOLD:
            input, *rest = args if args else (kwargs.pop("input"),)
            if is_plain(input) and input.is_floating_point():
                # A checkpoint must run the same operators again in the backward. A reentrant one runs without grad.
                if torch.is_grad_enabled() and not in_checkpoint():
                    return self.what(func, input, rest, kwargs)
                self.passed()
            return func(input, *rest, **kwargs)
        return func(*args, **kwargs)


class Kinks:
    """The sides of a critic's kinks, in the order of its operators."""

    def __init__(self) -> None:
        self.held: list[_Held] = []
        self.free = False
        """Whether some kinks, in a checkpoint, could not be recorded."""

    def _pass(self) -> None:
        self.free = True

    def recording(self) -> TorchFunctionMode:
        """Within the block, the critic runs unchanged, and the sides of its activations are recorded."""

        def note(func: Any, input: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
            self.held.append(_Held(func, input.shape, HOLD[func](func, input, args, kwargs)))
            return func(input, *args, **kwargs)

        return _Mode(note, self._pass)

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Within the block, activations take the recorded sides. A critic that calls other operators runs unchanged
        from there on."""
        held = iter(self.held)

        def hold(func: Any, input: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
            noted = next(held, None)
            if noted is None or noted.func is not func or noted.shape != input.shape:
                for _ in held:
                    pass
                return func(input, *args, **kwargs)
            result = noted.run(input, *args, **kwargs)
            return input.copy_(result) if operators.is_in_place(func, args, kwargs) else result

        with _Mode(hold, self._pass):
            yield
