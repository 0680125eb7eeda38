"""Known degradations of images, for tasks that learn to undo them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def downscale(images: Tensor, factor: int) -> Tensor:
    """Divides the sides of images ``[N, C, H, W]`` by ``factor``; each pixel is the mean of the pixels it covers.

    The mean is the simplest antialiasing filter: it damps the frequencies above the new Nyquist limit, which would
    alias if only every factor-th pixel were kept.

    Raises:
        ValueError: factor does not divide both sides.
    """
    height, width = images.shape[2:]
    if height % factor or width % factor:
        raise ValueError(
            f"images have {height} x {width} pixels and factor is {factor}; expected a factor that divides both sides"
        )
    return F.avg_pool2d(images, factor)


def upscale(images: Tensor, factor: int) -> Tensor:
    """Images ``[N, C, h, w]`` enlarged by ``factor`` with bicubic interpolation: the baseline for a network."""
    # By size: a factor is a float to torch.export, which then cannot tell that the result is whole for every size.
    size = (images.shape[2] * factor, images.shape[3] * factor)
    return F.interpolate(images, size=size, mode="bicubic", align_corners=False)
