"""What holds a critic's slope down without a penalty: clipped weights, spectral normalisation; and packing against lost modes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from gpgan.nn.labels import Projection

NORMALISED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
    Projection,
)


def check_limit(name: str, value: float) -> None:
    """Raises unless value is a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a {type(value).__name__}; wanted a number above 0")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; wanted a finite number above 0")


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], limit: float) -> None:
    """Clamps every element of the parameters to [-limit, limit], in place. NaN stays NaN.

    ``CriticStep(max_weight=limit)`` does it after each update. It bounds the critic's slope, by a number that grows with
    width and depth; the authors call it a clearly terrible way to do so.

    Raises:
        TypeError, ValueError: limit is no number, or not finite and above 0.

    Source:
        Arjovsky, Chintala and Bottou, Wasserstein GAN, arXiv 1701.07875, algorithm 1 (limit 0.01).
    """
    check_limit("limit", limit)
    tensors = list(parameters)
    if tensors:
        torch._foreach_clamp_min_(tensors, -limit)
        torch._foreach_clamp_max_(tensors, limit)


def spectral_norm(module: nn.Module) -> nn.Module:
    """Divides the weight of every linear, convolution, transposed convolution, embedding and ``Projection`` layer in a
    critic by its largest singular value, at every forward; the module itself, changed in place.

    The singular value is estimated by one power iteration a forward in training mode, kept in buffers, and a kernel is
    taken as the matrix [channels out, the rest]: a convolution's own norm as an operator may be above 1. The parameters
    stay the same objects, so that an optimizer made before holds them still. Layers that are normalised already are left
    as they are. A weight of zeros, which no factor brings to norm 1, is drawn from the standard normal distribution
    first. That and the start of the power iterations move torch's random state.

    Raises:
        TypeError, ValueError: module is no ``nn.Module``, or has no such layer.

    Source:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, arXiv 1802.05957, algorithm 1.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is a {type(module).__name__}; wanted a critic that is an nn.Module")
    layers = [layer for layer in module.modules() if isinstance(layer, NORMALISED)]
    if not layers:
        raise ValueError(
            f"module is a {type(module).__name__} without a linear, convolution or embedding layer; wanted a critic with "
            "weights that spectral normalisation knows"
        )
    for layer in layers:
        if is_normalised(layer):
            continue
        with torch.no_grad():
            if not layer.weight.any():
                layer.weight.normal_()
        parametrizations.spectral_norm(layer)
    return module


def is_normalised(layer: nn.Module) -> bool:
    """Whether a layer's weight has spectral normalisation, by ``spectral_norm`` or by torch's own parametrization."""
    if any(isinstance(hook, SpectralNorm) for hook in layer._forward_pre_hooks.values()):  # the older form
        return True
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    chain = layer.parametrizations["weight"]  # type: ignore[index]
    return any(isinstance(each, _SpectralNorm) for each in chain)


def pack(samples: Tensor, m: int) -> Tensor:
    """Each m samples that follow one another as one, for a critic that sees m at once and so notices that they are alike.

    Args:
        samples: ``[B, C, ...]`` or ``[B, D]``; real and fake ones are packed apart.
        m: How many make one; it divides B.

    Returns:
        ``[B/m, m*C, ...]`` or ``[B/m, m*D]``: the samples' channels one behind the other.

    Raises:
        TypeError, ValueError: samples is no Tensor of two dimensions or more; m is no whole number above 0, or does not
            divide B.

    Source:
        Lin et al., PacGAN: The power of two samples in generative adversarial networks, arXiv 1712.04086, section 3.
    """
    if not isinstance(samples, Tensor):
        raise TypeError(f"samples is a {type(samples).__name__}; wanted a torch.Tensor [B, C, ...] or [B, D]")
    if samples.dim() < 2:
        raise ValueError(f"samples has shape {tuple(samples.shape)}; wanted [B, C, ...] or [B, D]")
    if isinstance(m, bool) or not isinstance(m, int) or m < 1:
        raise ValueError(f"m is {m!r}; wanted a whole number, 1 or above: how many samples make one")
    batch, channels, *rest = samples.shape
    if batch % m:
        raise ValueError(
            f"m is {m} and does not divide a batch of {batch} samples; wanted a batch size that is a multiple of {m}"
        )
    return samples.reshape(batch // m, m * channels, *rest)
