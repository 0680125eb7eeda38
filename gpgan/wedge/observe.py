"""The forward model ``y = T(R x + s n)``, and its two halves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpgan.wedge.ctf import CTF
from gpgan.wedge.frequencies import multiplicity, shells
from gpgan.wedge.mask import Wedge
from gpgan.wedge.operators import Filter, transform


@dataclass(frozen=True)
class Observation:
    """T: what a tilt series keeps of a volume.

    Attributes:
        wedge: The tilt range.
        ctf: The contrast transfer function; None for none, or one that is corrected.
        voxel: The voxel size in angstroms; only a CTF needs it.
    """

    wedge: Wedge
    ctf: CTF | None = None
    voxel: float = 1.0

    def filter(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Filter:
        """T for volumes of this shape."""
        transfer = self.wedge.mask(shape).double()
        if self.ctf is not None:
            transfer = transfer * self.ctf.transfer(shape, self.voxel)
        return Filter(transfer.to(device), shape)


def halves(turned: Tensor, observation: Filter, deviation: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two observations of each volume, as of the even and the odd tilts or frames; their mean has the noise s.

    Args:
        turned: ``[..., D, H, W]``: R x.
        observation: T.
        deviation: s, the standard deviation of the white noise in a voxel.
        rng: On the CPU.
    """
    noise = [torch.randn(turned.shape, generator=rng).to(turned) for _ in range(2)]
    first, second = (observation(turned + deviation * 2**0.5 * each) for each in noise)
    return first, second


def noise_spectrum(even: Tensor, odd: Tensor, measured: Tensor) -> Tensor:
    """The variance of the noise of the halves' mean in each Fourier component, estimated from their difference.

    A mean over shells: the difference of the halves has four times the variance of their mean.

    Args:
        even, odd: ``[N, D, H, W]`` or ``[N, H, W]``.
        measured: Which components are, bool, of the shape of ``rfftn``.

    Returns:
        Float64, of the shape of ``rfftn``: the mean of ``|F n|^2``; 0 in shells without a measured component.
    """
    shape = even.shape[1:]
    total = torch.zeros(measured.shape, dtype=torch.float64, device=even.device)
    for some_even, some_odd in zip(torch.split(even, 64), torch.split(odd, 64), strict=True):
        total += transform((some_even - some_odd) / 2, len(shape)).abs().double().square().sum(0)
    return shell_mean(total / len(even), measured, shape)


def shell_mean(power: Tensor, measured: Tensor, shape: Sequence[int]) -> Tensor:
    """Each component's mean over the measured ones of its shell; 0 where a shell has none.

    Args:
        power: Real, of the shape of ``rfftn``.
        measured: Bool, of the same shape.
        shape: Of the volumes.
    """
    index = shells(shape, power.device)
    weight = multiplicity(shape, power.device) * measured
    sums, counts = (
        torch.zeros(int(index.max()) + 1, dtype=torch.float64, device=power.device).index_add_(
            0, index.flatten(), each.flatten()
        )
        for each in (power.double() * weight, weight)
    )
    return (sums / counts.clamp_min(1e-300))[index]
