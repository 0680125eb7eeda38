"""The negative control: particles whose wedge is independent of what was measured."""

from __future__ import annotations

from pathlib import Path

import torch

from gpgan.wedge.files import read_volume, write_volume
from gpgan.wedge.mask import Wedge
from gpgan.wedge.observe import halves
from gpgan.wedge.operators import Filter, inverse, transform


def write_fields(folder: Path, seed: int, snr: float = 0.1) -> None:
    """Replaces simulated particles by stationary Gaussian fields with their power, and the same noise.

    Args:
        folder: From ``gpgan wedge simulate``.
        seed: Same seed, same fields.
        snr: As in the simulation.
    """
    names = sorted(path.name for path in (folder / "truth").iterdir())
    truths = [read_volume(folder / "truth" / name) for name in names]
    shape = truths[0].data.shape
    power = torch.stack([transform(torch.from_numpy(each.data)).abs().square() for each in truths]).mean(0).sqrt()
    rng = torch.Generator().manual_seed(seed)
    filtered = Filter(Wedge().mask(shape).float(), shape)
    for name, header in zip(names, truths, strict=True):
        white = transform(torch.randn(shape, generator=rng))
        made = inverse(white * power, shape)
        made = made / made.std()
        even, odd = halves(made, filtered, snr**-0.5, rng)
        for part, volume in zip(
            ("truth", "even", "odd", "particles"), (made, even, odd, (even + odd) / 2), strict=True
        ):
            write_volume(folder / part / name, header.with_data(volume.numpy()))
