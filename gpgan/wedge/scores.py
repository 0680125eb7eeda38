"""How well the components that were not measured are restored."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gpgan.wedge.frequencies import band, multiplicity, shells
from gpgan.wedge.mask import Wedge
from gpgan.wedge.operators import transform

# The wavelengths in angstroms that the headline score looks at.
LONGEST, SHORTEST = 120.0, 40.0
# A smaller part of a volume's power than this is rounding.
ROUNDING = 1e-10


def wedge_correlation(restored: Tensor, truth: Tensor, wedge: Wedge, voxel: float | None = None) -> Tensor:
    """The correlation over the components that were not measured, per volume; 1 is perfect, 0 is chance.

    With a voxel size it is the headline score S, from 120 to 40 angstroms. Without, over all frequencies, it is no
    measure of success: low frequencies outweigh the rest, and a spherical mean has those already.

    Args:
        restored, truth: ``[N, *shape]``.
        wedge: The tilt range.
        voxel: The voxel size in angstroms, or None for all frequencies.

    Returns:
        float64 ``[N]``; 0 where a restored volume has nothing there.
    """
    shape = truth.shape[1:]
    region = ~wedge.mask(shape, truth.device)
    if voxel is not None:
        region = region & band(shape, voxel, LONGEST, SHORTEST).to(truth.device)
    return correlation(restored, truth, region)


def correlation(restored: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """The normalised inner product over a region of Fourier space, float64 ``[N]``.

    Args:
        restored, truth: ``[N, *shape]``.
        region: Bool, of the shape of ``rfftn``.

    Returns:
        0 where a restored volume has nothing in the region but rounding.
    """
    shape = truth.shape[1:]
    weight = multiplicity(shape, truth.device) * region
    a, b = (transform(each.double(), len(shape)) for each in (restored, truth))
    axes = tuple(range(1, 1 + len(shape)))
    product = (weight * (a * b.conj()).real).sum(axes)
    power_a, power_b = ((weight * each.abs().square()).sum(axes) for each in (a, b))
    empty = power_a <= ROUNDING * a.abs().square().sum(axes)
    return torch.where(empty | (power_b == 0), 0.0, product / (power_a * power_b).clamp_min(1e-300).sqrt())


def fourier_shell_correlation(a: Tensor, b: Tensor, region: Tensor | None = None) -> Tensor:
    """FSC: the correlation in each shell, averaged over volumes; NaN in shells without a component of the region.

    Harauz and van Heel, Optik 73 (1986) 146.

    Args:
        a, b: ``[N, *shape]``.
        region: Bool, of the shape of ``rfftn``; None for all.

    Returns:
        float64 ``[shells up to Nyquist's]``; shell s has the wavelength shortest side * voxel size / s.
    """
    shape = a.shape[1:]
    found = []
    index = shells(shape, a.device)
    for shell in range(min(shape) // 2 + 1):
        inside = index == shell if region is None else (index == shell) & region
        found.append(correlation(a, b, inside).mean() if bool(inside.any()) else torch.tensor(torch.nan))
    return torch.stack([each.double().cpu() for each in found])


def resolution(curve: Tensor, threshold: float, side: int, voxel: float) -> float | None:
    """The wavelength in angstroms where an FSC falls below a threshold for the first time, linear between shells.

    Args:
        curve: From ``fourier_shell_correlation``.
        threshold: E.g. 0.5 or 0.143.
        side: The shortest side in voxels.
        voxel: The voxel size in angstroms.

    Returns:
        Nyquist's wavelength, 2 voxels, if it never does; None if it is below from the first shell on.
    """
    known: Sequence[tuple[int, float]] = [
        (shell, value) for shell, value in enumerate(curve.tolist()) if shell and value == value
    ]
    previous: tuple[int, float] | None = None
    for shell, value in known:
        if value < threshold:
            if previous is None:
                return None
            before, high = previous
            return side * voxel / (before + (shell - before) * (high - threshold) / (high - value))
        previous = (shell, value)
    return 2 * voxel
