"""Initial weights, drawn from a given random state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gpgan.nn.labels import Projection

# Negative slope of every LeakyReLU.
SLOPE = 0.2


@torch.no_grad()
def initialise(module: nn.Module, rng: torch.Generator) -> None:
    """Redraws the weights of every layer from ``rng`` and sets biases to zero; norms keep their parameters.

    torch's own constructors draw from the global random state, so the weights would depend on what ran before.

    The gain is that of the activation before a layer: a LeakyReLU of slope 0.2, or of the layer's attribute
    ``input_slope`` if it has one; 0 is ReLU, 1 is no activation.

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
            # Distributed as the latents that it is concatenated with.
            layer.weight.normal_(generator=rng)


def _draw(weight: Tensor, bias: Tensor | None, fan_in: float, slope: float, rng: torch.Generator) -> None:
    weight.normal_(0, math.sqrt(2 / (1 + slope**2) / fan_in), generator=rng)
    if bias is not None:
        bias.zero_()
