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
    """Applies spectral normalisation to a critic, in place: at every forward, each linear, convolution, transposed
    convolution, embedding and ``Projection`` weight is divided by its largest singular value.

    The singular value is estimated by one power iteration per forward in training mode, whose vectors are buffers. A
    kernel is treated as the matrix [channels out, all else], so a convolution's own operator norm may exceed 1. The
    parameters stay the same objects, so an existing optimizer remains valid. Layers that are already normalised are left
    unchanged. A weight of zeros cannot be scaled to norm 1 and is first drawn from the standard normal distribution.
    This draw and the initial vectors of the power iterations use torch's global random state.

    Returns:
        The module itself.

    Raises:
        TypeError, ValueError: module is not an ``nn.Module``, or has no such layer.

    Source:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, arXiv 1802.05957, algorithm 1.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is a {type(module).__name__}; expected a critic that is an nn.Module")
    layers = [layer for layer in module.modules() if isinstance(layer, NORMALISED)]
    if not layers:
        raise ValueError(
            f"module is a {type(module).__name__} without a linear, convolution or embedding layer; expected a critic with "
            "at least one of these"
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
    by_hook = any(isinstance(hook, SpectralNorm) for hook in forward_pre_hooks(layer))  # the older API
    if by_hook or (hasattr(layer, "weight_orig") and hasattr(layer, "weight_u")):
        return True
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    chain = layer.parametrizations["weight"]  # type: ignore[index]
    return any(isinstance(each, spectral_parametrization()) for each in chain)
