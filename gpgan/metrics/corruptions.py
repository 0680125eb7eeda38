"""Known corruptions of real images, at rising strength."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gpgan.metrics.metric import Corruption

# blur: standard deviation in pixels; noise: standard deviation, where the whole range is 1; missing: classes without
# samples; repeats: how often each image is there; copies: share of training images.
STRENGTHS: dict[Corruption, tuple[float, ...]] = {
    "blur": (0.5, 0.7, 1.0, 1.4, 2.0),
    "noise": (0.05, 0.1, 0.2),
    "missing": (1, 3, 5),
    "repeats": (2, 5, 20),
    "copies": (0.1, 0.3, 1.0),
}


def blur(images: Tensor, strength: float) -> Tensor:
    """Convolved with a Gaussian of this standard deviation in pixels; edges are extended by their last pixel.

    Args:
        images: ``[n, C, H, W]``.
        strength: In pixels.
    """
    reach = min(math.ceil(4 * strength), 64)
    line = torch.arange(-reach, reach + 1, dtype=images.dtype)
    weights = torch.exp(-line.square() / (2 * strength**2))
    weights = weights / weights.sum()
    channels = images.shape[1]
    for axis in (2, 3):
        shape = [1, 1, 1, 1]
        shape[axis] = len(line)
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        kernel = weights.reshape(shape).expand(channels, 1, *shape[2:])
        images = F.conv2d(F.pad(images, pad, mode="replicate"), kernel, groups=channels)
    return images


def noise(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """With Gaussian noise, whose standard deviation is ``strength`` of the range from -1 to 1; clipped to that range."""
    return (images + 2 * strength * torch.randn(images.shape, generator=rng)).clamp(-1, 1)


def missing(labels: Tensor, classes: int, strength: float, count: int) -> Tensor:
    """Indices of the first ``count`` samples that are not of the first classes; fewer if there are not as many.

    Args:
        labels: int64 ``[m]``.
        classes: In all.
        strength: So many classes are left out, below ``classes``.
        count: Of indices.
    """
    if not 0 < strength < classes:
        raise ValueError(
            f"strength is {strength} and there are {classes} classes; expected fewer missing than there are"
        )
    return (labels >= strength).nonzero().flatten()[:count]


def repeats(count: int, strength: float) -> Tensor:
    """``count`` indices in which each of the first count / strength samples is there ``strength`` times."""
    return torch.arange(count) % max(1, round(count / strength))


IMAGES: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "blur": lambda images, strength, rng: blur(images, strength),
    "noise": noise,
}
