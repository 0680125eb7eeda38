"""First weights, from a random state of their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gpgan.nn.labels import Projection

# The gain of LeakyReLU with slope 0.2 (He et al., arXiv 1502.01852, equation 15).
SLOPE = 0.2


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draws the weights of every layer anew; biases become zero, and a BatchNorm stays as it is.

    torch's own constructors draw from the global random state, so that a seed would also depend on what ran before.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
            # Each output pixel sees only every stride-th tap of the kernel in each direction.
            taps = math.prod(layer.kernel_size) / math.prod(layer.stride)
            _draw(layer.weight, layer.bias, layer.in_channels * taps, generator)
        elif isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            _draw(layer.weight, layer.bias, layer.in_channels * math.prod(layer.kernel_size), generator)
        elif isinstance(layer, nn.Linear):
            _draw(layer.weight, layer.bias, layer.in_features, generator)
        elif isinstance(layer, Projection):
            _draw(layer.weight, None, layer.weight.shape[1], generator)
        elif isinstance(layer, nn.Embedding):
            # As the latents that it is joined to.
            layer.weight.normal_(generator=generator)


def _draw(weight: Tensor, bias: Tensor | None, fan_in: float, generator: torch.Generator) -> None:
    weight.normal_(0, math.sqrt(2 / (1 + SLOPE**2) / fan_in), generator=generator)
    if bias is not None:
        bias.zero_()
