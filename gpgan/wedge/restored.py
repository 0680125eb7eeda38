"""What a restoration gives, and how well it does where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gpgan.wedge.mask import Wedge
from gpgan.wedge.operators import Filter
from gpgan.wedge.scores import fourier_shell_correlation, resolution, wedge_correlation


@dataclass(frozen=True)
class Restored:
    """Restored volumes.

    Attributes:
        mean: ``[B, *shape]``.
        samples: Of the posterior, ``[S, B, *shape]``; None for a method that gives one answer.
        classes: The most likely of the shared volumes, int64 ``[B]`` on the CPU; None without such.
        rotations: The most likely pose, ``[B, d, d]`` on the CPU; None without such.
    """

    mean: Tensor
    samples: Tensor | None = None
    classes: Tensor | None = None
    rotations: Tensor | None = None

    @property
    def deviation(self) -> Tensor | None:
        """Per voxel, ``[B, *shape]``; None without samples."""
        return None if self.samples is None else (self.samples - self.mean).square().mean(0).sqrt()


def scores(restored: Restored, truth: Tensor, wedge: Wedge, voxel: float) -> Mapping[str, float | None]:
    """Means over volumes.

    Args:
        restored: Volumes.
        truth: ``[B, *shape]``.
        wedge: The tilt range.
        voxel: The voxel size in angstroms.

    Returns:
        ``s``, the headline: see ``wedge_correlation``. ``wedge_correlation``: over all frequencies. ``resolution`` and
        ``resolution_143``: where the FSC over all components falls below .5 and .143, in angstroms. ``wedge_resolution``:
        where that over the wedge alone falls below .5. ``within``, with samples: the share of the wedge's voxels at which
        the truth is within one deviation; .68 of a normal distribution is.
    """
    mean, side = restored.mean, min(truth.shape[1:])
    missing = ~wedge.mask(truth.shape[1:], truth.device)
    whole, part = fourier_shell_correlation(mean, truth), fourier_shell_correlation(mean, truth, missing)
    found: dict[str, float | None] = {
        "s": float(wedge_correlation(mean, truth, wedge, voxel).mean()),
        "wedge_correlation": float(wedge_correlation(mean, truth, wedge).mean()),
        "resolution": resolution(whole, 0.5, side, voxel),
        "resolution_143": resolution(whole, 0.143, side, voxel),
        "wedge_resolution": resolution(part, 0.5, side, voxel),
    }
    if restored.samples is not None:
        found["within"] = within(restored, truth, wedge)
    return found


def within(restored: Restored, truth: Tensor, wedge: Wedge) -> float:
    """The share of voxels at which the truth is within one deviation of the mean, in the components not measured."""
    assert restored.samples is not None
    missing = Filter(~wedge.mask(truth.shape[1:], truth.device), truth.shape[1:])
    mean = missing(restored.mean)
    deviation = torch.stack([(missing(each) - mean).square() for each in restored.samples]).mean(0).sqrt()
    return float(((missing(truth) - mean).abs() <= deviation).float().mean())
