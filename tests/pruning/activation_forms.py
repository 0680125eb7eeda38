"""All of torch's forms of its piecewise-linear activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Callable[[Tensor], Tensor]

WEIGHT = torch.tensor([0.3, -0.2, 1.4], dtype=torch.float64)
ONE_WEIGHT = torch.tensor([0.3], dtype=torch.float64)

# Factories: an activation with parameters becomes a module of its critic.
OUT_OF_PLACE: dict[str, Callable[[], Activation]] = {
    "F.relu": lambda: F.relu,
    "torch.relu": lambda: torch.relu,
    "Tensor.relu": lambda: Tensor.relu,
    "nn.ReLU": nn.ReLU,
    "F.leaky_relu": lambda: F.leaky_relu,
    "F.leaky_relu, slope": lambda: lambda h: F.leaky_relu(h, 0.2),
    "F.leaky_relu, slope by name": lambda: lambda h: F.leaky_relu(input=h, negative_slope=0.2),
    "F.leaky_relu, slope 0": lambda: lambda h: F.leaky_relu(h, 0.0),
    "F.leaky_relu, slope below 0": lambda: lambda h: F.leaky_relu(h, -0.3),
    "F.leaky_relu, slope above 1": lambda: lambda h: F.leaky_relu(h, 1.3),
    "torch.ops leaky_relu": lambda: torch._C._nn.leaky_relu,
    "nn.LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "F.relu6": lambda: F.relu6,
    "nn.ReLU6": nn.ReLU6,
    "F.hardtanh": lambda: F.hardtanh,
    "F.hardtanh, limits": lambda: lambda h: F.hardtanh(h, -0.2, 0.7),
    "F.hardtanh, limits by name": lambda: lambda h: F.hardtanh(h, max_val=0.4, min_val=-0.5),
    "F.hardtanh, limits above 0": lambda: lambda h: F.hardtanh(h, 0.1, 0.9),
    "nn.Hardtanh": lambda: nn.Hardtanh(-0.5, 0.5),
    "F.prelu": lambda: lambda h: F.prelu(h, ONE_WEIGHT),
    "F.prelu, many": lambda: lambda h: F.prelu(h, WEIGHT),
    "torch.prelu, many": lambda: lambda h: torch.prelu(h, WEIGHT),
    "Tensor.prelu, many": lambda: lambda h: h.prelu(WEIGHT),
    "nn.PReLU": nn.PReLU,
    "nn.PReLU, many": lambda: nn.PReLU(3),
    "F.rrelu": lambda: F.rrelu,
    "F.rrelu, limits": lambda: lambda h: F.rrelu(h, 0.2, 0.9),
    "torch.rrelu": lambda: torch.rrelu,
    "nn.RReLU": lambda: nn.RReLU(0.1, 0.5).eval(),
    "torch.abs": lambda: torch.abs,
    "torch.absolute": lambda: torch.absolute,
    "Tensor.abs": lambda: Tensor.abs,
    "Tensor.absolute": lambda: Tensor.absolute,
    "abs": lambda: abs,
}
IN_PLACE: dict[str, Callable[[], Activation]] = {
    "F.relu(inplace)": lambda: lambda h: F.relu(h, inplace=True),
    "F.relu_": lambda: F.relu_,
    "torch.relu_": lambda: torch.relu_,
    "Tensor.relu_": lambda: Tensor.relu_,
    "nn.ReLU(inplace)": lambda: nn.ReLU(inplace=True),
    "F.leaky_relu(inplace)": lambda: lambda h: F.leaky_relu(h, 0.2, inplace=True),
    "F.leaky_relu_": lambda: F.leaky_relu_,
    "F.leaky_relu_, slope": lambda: lambda h: F.leaky_relu_(h, negative_slope=0.2),
    "nn.LeakyReLU(inplace)": lambda: nn.LeakyReLU(0.2, inplace=True),
    "F.relu6(inplace)": lambda: lambda h: F.relu6(h, inplace=True),
    "nn.ReLU6(inplace)": lambda: nn.ReLU6(inplace=True),
    "F.hardtanh(inplace)": lambda: lambda h: F.hardtanh(h, -0.2, 0.7, inplace=True),
    "F.hardtanh_": lambda: F.hardtanh_,
    "F.hardtanh_, limits": lambda: lambda h: F.hardtanh_(h, -0.2, max_val=0.7),
    "nn.Hardtanh(inplace)": lambda: nn.Hardtanh(-0.5, 0.5, inplace=True),
    "F.rrelu(inplace)": lambda: lambda h: F.rrelu(h, inplace=True),
    "F.rrelu_": lambda: F.rrelu_,
    "torch.rrelu_": lambda: torch.rrelu_,
    "nn.RReLU(inplace)": lambda: nn.RReLU(inplace=True).eval(),
    "torch.abs_": lambda: torch.abs_,
    "Tensor.abs_": lambda: Tensor.abs_,
    "Tensor.absolute_": lambda: Tensor.absolute_,
}
ALL = OUT_OF_PLACE | IN_PLACE
# Also piecewise linear, but not pruned.
OTHERS: dict[str, Callable[[], Activation]] = {
    "clamp": lambda: lambda h: h.clamp(-0.5, 0.6),
    "threshold": lambda: lambda h: F.threshold(h, 0.1, 0.4),
    "hardshrink": lambda: F.hardshrink,
    "softshrink": lambda: F.softshrink,
    "maximum": lambda: lambda h: torch.maximum(h, 0.2 * h),
    "where": lambda: lambda h: torch.where(h > 0, h, 0.2 * h),
    "hardswish": lambda: F.hardswish,
    "rrelu in training": lambda: nn.RReLU(),
    "sign times": lambda: lambda h: h * h.sign(),
}
# Their second derivatives must be kept. None saves its result, which would forbid a later change in place.
SMOOTH: dict[str, Activation] = {"sin": torch.sin, "silu": F.silu, "softplus": F.softplus, "gelu": F.gelu}


def points(*inner: int) -> Tensor:
    return torch.randn(5, *inner, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
