"""How close restored images are to the ground truth: PSNR, SSIM and detail."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gpgan.metrics.metric import Evaluation

# The range of values from -1 to 1.
RANGE = 2.0
# SSIM's window, its standard deviation, and the two constants, as in the paper.
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03
# Frequencies of at least this, in cycles per pixel, count as detail: half the Nyquist frequency.
DETAIL = 0.25
# dB: what an image that equals its truth contributes to a mean.
MOST = 100.0


def psnr(images: Tensor, truths: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, ``[N]``, of images in [-1, 1]; infinite for equal images.

    Args:
        images: ``[N, C, H, W]``.
        truths: ``[N, C, H, W]``.
    """
    error = (images - truths).square().flatten(1).mean(1)
    return 10 * torch.log10(RANGE**2 / error)


def ssim(images: Tensor, truths: Tensor) -> Tensor:
    """Structural similarity ``[N]`` of images in [-1, 1]: 1 for equal images.

    Computed per channel with a Gaussian window of 11 pixels (the largest odd size that fits into smaller images),
    wherever it lies inside the image. Values are first mapped from -1..1 to 0..1, as SSIM depends on the level of
    black.

    Args:
        images: ``[N, C, H, W]``.
        truths: ``[N, C, H, W]``.

    Source:
        Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity,
        IEEE Transactions on Image Processing 13(4), 2004.
    """
    images, truths = (images + 1) / 2, (truths + 1) / 2
    channels, *sides = images.shape[1:]
    side = min(WINDOW, *sides)
    side -= 1 - side % 2
    line = torch.arange(side, dtype=images.dtype, device=images.device) - side // 2
    weights = torch.exp(-line.square() / (2 * SIGMA**2))
    weights = torch.outer(weights, weights)
    kernel = (weights / weights.sum()).expand(channels, 1, side, side)

    def local_mean(values: Tensor) -> Tensor:
        return F.conv2d(values, kernel, groups=channels)

    a, b = local_mean(images), local_mean(truths)
    # Rounding can make them slightly negative.
    var_a = (local_mean(images.square()) - a.square()).clamp(min=0)
    var_b = (local_mean(truths.square()) - b.square()).clamp(min=0)
    covariance = local_mean(images * truths) - a * b
    c1, c2 = K1**2, K2**2
    similarity = (2 * a * b + c1) * (2 * covariance + c2) / ((a.square() + b.square() + c1) * (var_a + var_b + c2))
    return similarity.flatten(1).mean(1)


def detail(images: Tensor, truths: Tensor) -> float:
    """The energy of all images at frequencies of at least 1/4 cycle per pixel, divided by that of the ground truth.

    1 is ideal; below 1 the images are too smooth. It does not tell whether the detail is in the right place.

    Args:
        images: ``[N, C, H, W]``.
        truths: ``[N, C, H, W]``; NaN is returned if they have no detail.
    """
    mine, true = _high_energy(images), _high_energy(truths)
    return float(mine / true) if true > 0 else math.nan


def _high_energy(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    spectrum = torch.fft.fft2(images).abs().square()
    y = torch.fft.fftfreq(height, dtype=images.dtype, device=images.device)
    x = torch.fft.fftfreq(width, dtype=images.dtype, device=images.device)
    radius = torch.hypot(y[:, None], x[None, :])
    energy: Tensor = spectrum[..., radius >= DETAIL].sum()
    return energy


def pairs(evaluation: Evaluation) -> tuple[Tensor, Tensor]:
    """Restored images and their truths in float64, clipped to the range of images."""
    assert evaluation.truths is not None
    return evaluation.fake.values[:].double().clamp(-1, 1), evaluation.truths.double().clamp(-1, 1)


def needs_truths(evaluation: Evaluation) -> str:
    """Why images cannot be compared with their truths, or ""."""
    if evaluation.truths is not None and evaluation.truths.dim() == 4:
        return ""
    return "samples have no ground truth; expected a run that restores images, such as superresolve"
