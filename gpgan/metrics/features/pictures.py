"""What the networks of images share: their input, and BatchNorm folded into convolutions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Pixels that go through a network at once on a CPU: few enough for its cache. With 250 images of 64 x 64 pixels at once
# EfficientNet-lite0 takes twice the time of 16.
CPU_PIXELS = 16 * 64 * 64


def check_images(name: str, shape: Sequence[int]) -> list[str]:
    """Notes on how images of a shape are prepared.

    Raises:
        ValueError: Samples of this shape are not images ``[C, H, W]`` with 1 or 3 channels.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(
            f"features is {name!r} and samples have shape {tuple(shape)}; expected images [C, H, W] with 1 or 3 channels, or "
            "--features raw"
        )
    return ["grey images are expanded to three channels"] if shape[0] == 1 else []


def resized(images: Tensor, side: int, mode: str) -> Tensor:
    """Colour images ``[n, 3, side, side]`` of images ``[n, C, H, W]``, all from -1 to 1.

    Images are clipped, rounded to 256 levels, as a file of them would be, and antialiased when they become smaller.

    Args:
        images: With 1 or 3 channels; grey ones become three equal channels.
        side: In pixels.
        mode: "bilinear" or "bicubic".
    """
    images = as_levels(images)
    images = F.interpolate(images, (side, side), mode=mode, antialias=True, align_corners=False)
    # Bicubic interpolation can leave the range.
    return images.clamp(-1, 1).expand(-1, 3, -1, -1)


def as_levels(images: Tensor) -> Tensor:
    """Images clipped to -1..1 and rounded to 256 levels, in float32."""
    return images.to(torch.float32).clamp(-1, 1).mul(127.5).add(127.5).round().div(127.5).sub(1)


def parts(samples: Tensor, side: int, device: str) -> Sequence[Tensor]:
    """The samples in parts that go through a network at once, by the side that they are resized to."""
    count = max(2, CPU_PIXELS // side**2) if torch.device(device).type == "cpu" else max(1, len(samples))
    return torch.split(samples, count)


def fold(network: nn.Module) -> None:
    """Folds every BatchNorm in evaluation mode into the convolution before it."""
    for module in list(network.modules()):
        for (_, conv), (norm_name, norm) in itertools.pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None], requires_grad=False)
                conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)
                setattr(module, norm_name, nn.Identity())
