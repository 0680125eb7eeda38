"""The parts of a critic that is a sum of chains: linear maps, and activations that are linear near the input.

Besides its value, each part has a transpose, which maps the derivative of the scores with respect to its output (the
delta) to that with respect to its input; a tangent, which maps a change of its input to the change of its output; and
the gradient of its parameters, if any. A delta with fewer rows than the batch belongs to the penalty's points.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.pruning.convolution import Geometry
from gpgan.schedule.products import outer, product

aten = torch.ops.aten

Gradients = dict[nn.Parameter, Tensor]


def _add(gradients: Gradients, parameter: nn.Parameter, value: Tensor) -> None:
    """Adds to a parameter's gradient: one that is used twice gets the sum."""
    if value.dtype != parameter.dtype:
        value = value.to(parameter.dtype)
    gradients[parameter] = gradients[parameter] + value if parameter in gradients else value


class Map(ABC):
    """A part of the critic, from the values numbered ``inputs`` to the value numbered ``output``."""

    learned = False  # whether it has parameters that require grad
    renews = False  # whether transpose() allocates its result
    inputs: tuple[int, ...]
    output: int

    @abstractmethod
    def transpose(self, delta: Tensor) -> tuple[Tensor, ...]:
        """The deltas of the inputs."""

    @abstractmethod
    def tangent(self, *tangents: Tensor) -> Tensor:
        """The change of the output."""


class Weighted(Map):
    """A linear map with a weight and an optional bias.

    Keeps its input. Later the tangent replaces the input's last rows, so that one product over all rows gives the
    gradient of the critic's terms and of the penalty together.
    """

    renews = True

    def __init__(self, x: Tensor, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        self.x, self.parameter, self.bias = x, weight, bias
        self.learned = weight.requires_grad or (bias is not None and bias.requires_grad)
        self.weight: Tensor = weight if weight.dtype == x.dtype else weight.to(x.dtype)
        self.delta: Tensor | None = None

    @abstractmethod
    def run(self) -> Tensor:
        """The output."""

    def put_tangent(self, tangent: Tensor) -> None:
        rows = self.x[-tangent.shape[0] :]
        if rows.data_ptr() != tangent.data_ptr():
            rows.copy_(tangent)

    def gradients(self, into: Gradients, plain_rows: int) -> None:
        """Adds the gradients of the weight and the bias.

        Args:
            into: Where to add them.
            plain_rows: The rows of real and fake. The penalty's rows give no bias gradient.
        """
        delta, self.delta = self.delta, None
        assert delta is not None
        if self.parameter.requires_grad:
            _add(into, self.parameter, self.weight_gradient(delta))
        if plain_rows and self.bias is not None and self.bias.requires_grad:
            _add(into, self.bias, self.bias_gradient(delta[:plain_rows]))

    @abstractmethod
    def operations_of_a_row(self) -> int:
        """Multiply-adds of the forward per sample."""

    @abstractmethod
    def weight_gradient(self, delta: Tensor) -> Tensor:
        """The weight's gradient from the deltas of all rows."""

    @abstractmethod
    def bias_gradient(self, delta: Tensor) -> Tensor:
        """The bias's gradient from the deltas of the rows of real and fake."""


class Linear(Weighted):
    """y = x W^T + b over the last dimension."""

    def run(self) -> Tensor:
        row = self.bias if self.bias is None else self.bias.to(self.x.dtype)
        return self._shaped(product(self._flat(self.x), self.weight.t(), row), self.x)

    def operations_of_a_row(self) -> int:
        return self.weight.numel() * math.prod(self.x.shape[1:-1])

    @staticmethod
    def _flat(x: Tensor) -> Tensor:
        return x if x.dim() == 2 else x.flatten(0, -2)

    @staticmethod
    def _shaped(flat: Tensor, like: Tensor) -> Tensor:
        return flat if like.dim() == 2 else flat.view(*like.shape[:-1], flat.shape[-1])

    def transpose(self, delta: Tensor) -> tuple[Tensor, ...]:
        return (self._shaped(product(self._flat(delta), self.weight), delta),)

    def tangent(self, *tangents: Tensor) -> Tensor:
        (t,) = tangents
        return self._shaped(product(self._flat(t), self.weight.t()), t)

    def weight_gradient(self, delta: Tensor) -> Tensor:
        return outer(self._flat(delta), self._flat(self.x))

    def bias_gradient(self, delta: Tensor) -> Tensor:
        return self._flat(delta).sum(0)


class Convolution(Weighted):
    """Convolution of any geometry, also transposed."""

    def __init__(self, x: Tensor, weight: nn.Parameter, bias: nn.Parameter | None, geometry: Geometry) -> None:
        super().__init__(x, weight, bias)
        self.geometry = geometry

    def run(self) -> Tensor:
        bias = self.bias if self.bias is None else self.bias.to(self.x.dtype)
        value: Tensor = aten.convolution(self.x, self.weight, bias, *self.geometry)
        # Each weight is used once at each position of the output (of the input, if the convolution is transposed).
        self.places = math.prod((self.x if self.geometry.transposed else value).shape[2:])
        return value

    def operations_of_a_row(self) -> int:
        return self.weight.numel() * self.places

    def transpose(self, delta: Tensor) -> tuple[Tensor, ...]:
        x = self.x[-delta.shape[0] :]
        grads = aten.convolution_backward(delta, x, self.weight, None, *self.geometry, (True, False, False))
        return (grads[0],)

    def tangent(self, *tangents: Tensor) -> Tensor:
        return aten.convolution(*tangents, self.weight, None, *self.geometry)  # type: ignore[no-any-return]

    def weight_gradient(self, delta: Tensor) -> Tensor:
        grads = aten.convolution_backward(delta, self.x, self.weight, None, *self.geometry, (False, True, False))
        # In the memory layout of the parameter, as optimizers expect.
        grad = torch.empty_like(self.parameter)
        return grad.copy_(grads[1])

    def bias_gradient(self, delta: Tensor) -> Tensor:
        return delta.sum([0, *range(2, delta.dim())])


class Activation(Map):
    """Keeps its result, which determines the slope. Later the tangent replaces the result's last rows."""

    def __init__(self, kept: Tensor, backward: Any, *arguments: Any) -> None:
        # backward: aten's, called as backward(gradient, kept, *arguments); it also has an out= form.
        self.kept, self.backward, self.arguments = kept, backward, arguments

    def transpose(self, delta: Tensor) -> tuple[Tensor, ...]:
        return (self.backward.default(delta, self.kept[-delta.shape[0] :], *self.arguments),)

    def transpose_in_place(self, delta: Tensor) -> tuple[Tensor, ...]:
        """As ``transpose``, written to the memory of delta."""
        return (self._into(delta, delta),)

    def tangent(self, *tangents: Tensor) -> Tensor:
        (t,) = tangents
        return self._into(t, self.kept[-t.shape[0] :])

    def _into(self, values: Tensor, result: Tensor) -> Tensor:
        kept = self.kept[-values.shape[0] :]
        return self.backward.grad_input(values, kept, *self.arguments, grad_input=result)  # type: ignore[no-any-return]


class Reshape(Map):
    """A reshape of each row."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.before, self.after = x.shape[1:], y.shape[1:]

    def transpose(self, delta: Tensor) -> tuple[Tensor, ...]:
        return (delta.reshape(len(delta), *self.before),)

    def tangent(self, *tangents: Tensor) -> Tensor:
        (t,) = tangents
        return t.reshape(len(t), *self.after)


class Sum(Map):
    """a + b or a - b."""

    def __init__(self, subtract: bool) -> None:
        self.subtract = subtract

    def transpose(self, delta: Tensor) -> tuple[Tensor, ...]:
        return delta, -delta if self.subtract else delta

    def tangent(self, *tangents: Tensor) -> Tensor:
        a, b = tangents
        return a - b if self.subtract else a + b


class Rowwise(Map):
    """Any linear map without parameters that acts on each row alike: average pooling, slices, a factor."""

    def __init__(self, x: Tensor, run: Callable[[Tensor], Tensor]) -> None:
        self.run = run
        self.shape, self.dtype = x.shape[1:], x.dtype

    def transpose(self, delta: Tensor) -> tuple[Tensor, ...]:
        # The transpose of a linear map does not depend on the values of its input.
        with torch.enable_grad():
            x = torch.empty(len(delta), *self.shape, dtype=self.dtype, device=delta.device, requires_grad=True)
            return torch.autograd.grad(self.run(x), x, delta)

    def tangent(self, *tangents: Tensor) -> Tensor:
        return self.run(*tangents)
