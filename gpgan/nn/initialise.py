"""First weights, from a random state of their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gpgan.nn.labels import Projection

# Of the LeakyReLUs.
SLOPE = 0.2


@torch.no_grad()
def initialise(module: nn.Module, rng: torch.Generator) -> None:
    """Draws the weights of every layer anew; biases become zero, and a norm stays as it is.

    torch's own constructors draw from the global random state, so that a seed would also depend on what ran before.

    The gain is that of the activation before a layer: LeakyReLU of slope 0.2, or of another slope that the layer has as
    an attribute ``input_slope``: 0 is ReLU, 1 no activation.

    Source:
        He et al., Delving Deep into Rectifiers, arXiv 1502.01852, equation 15.
    """
    for layer in module.modules():
        slope: float = getattr(layer, "input_slope", SLOPE)
        if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            # Each output element sees only every stride-th tap of the kernel in each direction.
            taps = math.prod(layer.kernel_size) / math.prod(layer.stride)
            _draw(layer.weight, layer.bias, layer.in_channels * taps, slope, rng)
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            _draw(layer.weight, layer.bias, layer.in_channels * math.prod(layer.kernel_size), slope, rng)
        elif isinstance(layer, nn.Linear):
            _draw(layer.weight, layer.bias, layer.in_features, slope, rng)
        elif isinstance(layer, Projection):
            _draw(layer.weight, None, layer.weight.shape[1], slope, rng)
        elif isinstance(layer, nn.Embedding):
            # As the latents that it is joined to.
            layer.weight.normal_(generator=rng)


def _draw(weight: Tensor, bias: Tensor | None, fan_in: float, slope: float, rng: torch.Generator) -> None:
    weight.normal_(0, math.sqrt(2 / (1 + slope**2) / fan_in), generator=rng)
    if bias is not None:
        bias.zero_()
