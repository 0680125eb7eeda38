"""Spectral normalisation of a critic's weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.spectral_norm import SpectralNorm

from gpgan.nn.labels import Projection
from gpgan.torch_private import forward_pre_hooks, spectral_parametrization

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
        raise TypeError(f"module is a {type(module).__name__}; expected a critic that is an nn.Module")
    layers = [layer for layer in module.modules() if isinstance(layer, NORMALISED)]
    if not layers:
        raise ValueError(
            f"module is a {type(module).__name__} without a linear, convolution or embedding layer; expected a critic with "
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
    by_hook = any(isinstance(hook, SpectralNorm) for hook in forward_pre_hooks(layer))  # the older form
    if by_hook or (hasattr(layer, "weight_orig") and hasattr(layer, "weight_u")):
        return True
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    chain = layer.parametrizations["weight"]  # type: ignore[index]
    return any(isinstance(each, spectral_parametrization()) for each in chain)
