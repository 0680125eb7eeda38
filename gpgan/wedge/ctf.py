"""The contrast transfer function of an electron microscope."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gpgan.wedge.frequencies import radius


@dataclass(frozen=True)
class CTF:
    """Of one defocus, the same in all directions; Frank, Three-Dimensional Electron Microscopy (2006), section 2.3.

    The sign is that of a corrected one: it is positive at low frequencies, so that density stays bright.

    Attributes:
        defocus: In micrometres, positive for underfocus.
        voltage: In kilovolts.
        cs: Spherical aberration in millimetres.
        amplitude: The share of amplitude contrast, 0 to 1.

    Raises:
        ValueError: A number is out of its range.
    """

    defocus: float
    voltage: float = 300.0
    cs: float = 2.7
    amplitude: float = 0.07

    def __post_init__(self) -> None:
        for name, low, high in (("defocus", -100, 100), ("cs", 0, 100), ("amplitude", 0, 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value:g}; expected {low} to {high}")
        if not 1 <= self.voltage <= 10_000:
            raise ValueError(f"voltage is {self.voltage:g}; expected 1 to 10000 kilovolts, e.g. 300")

    def transfer(self, shape: Sequence[int], voxel: float) -> Tensor:
        """Float64, of the shape of ``rfftn`` of a volume with this voxel size in angstroms."""
        k2 = (radius(shape) / voxel).square()
        wave = wavelength(self.voltage)
        phase = math.pi * wave * k2 * (1e4 * self.defocus - 0.5 * 1e7 * self.cs * wave**2 * k2)
        return math.sqrt(1 - self.amplitude**2) * phase.sin() + self.amplitude * phase.cos()


def wavelength(voltage: float) -> float:
    """An electron's, relativistic, in angstroms; the voltage in kilovolts."""
    volts = 1e3 * voltage
    return 12.2643 / math.sqrt(volts * (1 + 0.978466e-6 * volts))
