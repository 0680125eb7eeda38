"""The Fourier components that a single-axis tilt series measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gpgan.wedge.frequencies import frequencies, vectors

# The axes of a volume.
Z, Y, X = 0, 1, 2
# By tilt axis: the axis along the beam at tilt 0, and the one across both.
PLANES = {"y": (Z, X), "x": (Z, Y), "z": (Y, X)}


@dataclass(frozen=True)
class Wedge:
    """A tilt range. Component k is measured if the angle of (k_across, k_beam) is within it.

    The section theorem: a projection at tilt t is the plane of Fourier space that holds the tilt axis and the direction
    (cos t, sin t) of (k_across, k_beam). For the usual axis y those are (k_x, k_z), and with the range -60 to 60 the
    measured components have ``|k_z| <= |k_x| tan 60``.

    Attributes:
        low, high: The tilts in degrees, from -90 to 90. Programs differ in the sign: an unequal range of one may be
            ``-high`` to ``-low`` here.
        axis: The tilt axis: y, as tomograms usually have it, x, or z for volumes whose beam is along y.

    Raises:
        ValueError: The range is empty, reversed or beyond 90 degrees, or the axis is unknown.
    """

    low: float = -60.0
    high: float = 60.0
    axis: Literal["x", "y", "z"] = "y"

    def __post_init__(self) -> None:
        if self.axis not in PLANES:
            raise ValueError(f"axis is {self.axis!r}; expected {' or '.join(PLANES)}, the axis of the tilt")
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"tilt is {self.low:g} to {self.high:g}; expected two angles in degrees")
        if self.low >= self.high:
            fix = f": {self.high:g} {self.low:g}" if self.low > self.high else ""
            raise ValueError(f"tilt is {self.low:g} to {self.high:g}; expected the smaller angle first{fix}")
        if self.low < -90 or self.high > 90:
            raise ValueError(f"tilt is {self.low:g} to {self.high:g}; expected angles from -90 to 90 degrees")

    @property
    def is_symmetric(self) -> bool:
        return self.low == -self.high

    def mirrored(self) -> Wedge:
        """The range of a program with the opposite sign."""
        return Wedge(-self.high, -self.low, self.axis)

    def contains(self, k: Tensor) -> Tensor:
        """Whether frequencies are measured, bool ``[...]``.

        Args:
            k: ``[..., d]``, real numbers of cycles per voxel: (x, y, z), or (x, z) in the plane.
        """
        planar = k.shape[-1] == 2
        beam, across = (1, 0) if planar else (2 - axis for axis in PLANES[self.axis])
        k_across, k_beam = k[..., across], k[..., beam]
        if self.is_symmetric:
            k_across, k_beam = k_across.abs(), k_beam.abs()
        else:
            turned = torch.where(k_across < 0, -1.0, 1.0).to(k)
            k_across, k_beam = k_across * turned, k_beam * turned
        slack = 1e-12  # so that rounding does not decide about components on the boundary
        within = torch.ones_like(k_beam, dtype=torch.bool)
        if self.high < 90:
            within &= k_beam <= k_across * math.tan(math.radians(self.high)) + slack
        if self.low > -90:
            within &= k_beam >= k_across * math.tan(math.radians(self.low)) - slack
        # Along the beam both signs are one component, at 90 degrees and -90.
        within = torch.where(k_across == 0, torch.tensor(self.high == 90 or self.low == -90, device=k.device), within)
        return within | ((k_across == 0) & (k_beam == 0))

    def mask(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Which components are measured: bool, of the shape of ``rfftn``.

        The mask is Hermitian, so that filtering with it is a projection: idempotent and self-adjoint. For that, an
        unequal range leaves out the Nyquist components of even sizes, whose sign is undefined. Components along the
        tilt axis are always measured.

        Args:
            shape: Of the volume, (D, H, W); or of an image (H, W), which has the axes (z, x).
            device: Of the result.
        """
        measured = self.contains(vectors(shape, device))
        if not self.is_symmetric:
            along = frequencies(shape, device)
            for axis in (0, 1) if len(shape) == 2 else PLANES[self.axis]:
                if shape[axis] % 2 == 0:
                    measured = measured & (along[axis].abs() != shape[axis] // 2)
        return measured
