"""Pictures of volumes: central slices, and their power in Fourier space. matplotlib is imported only when drawing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpgan.util.files import replacing
from gpgan.wedge.mask import PLANES, Wedge

AXES = "zyx"
# The brightest and the darkest voxels that a slice shows, as shares of all.
DARKEST, BRIGHTEST = 0.01, 0.995
# Decades of power that are shown.
DECADES = 5.0


def draw_slices(path: Path, volumes: Mapping[str, Tensor], voxel: float, title: str) -> None:
    """Writes the central slices across z, y and x of volumes ``[n, D, H, W]`` by name: a row for each of the n."""
    _draw(path, volumes, None, voxel, title)


def draw_restored(path: Path, volumes: Mapping[str, Tensor], wedge: Wedge, voxel: float, title: str) -> None:
    """As ``draw_slices``, with a last row of the mean power in the plane of the beam, and the borders of the wedge."""
    _draw(path, volumes, wedge, voxel, title)


def _draw(path: Path, volumes: Mapping[str, Tensor], wedge: Wedge | None, voxel: float, title: str) -> None:
    from matplotlib.figure import Figure

    count = len(next(iter(volumes.values())))
    rows, columns = count + (wedge is not None), 3 * len(volumes)
    width, height = 1.5 * columns + 0.6, 1.7 * rows + 0.7
    figure = Figure(figsize=(width, height), dpi=100)
    panels = figure.subplots(rows, columns, squeeze=False)
    # Fixed, as fitting the labels of so many panels takes seconds.
    figure.subplots_adjust(0.5 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.7 / height, wspace=0.45, hspace=0.5)
    for group, (name, values) in enumerate(volumes.items()):
        for row, volume in enumerate(values.detach().float().cpu().numpy()):
            low, high = np.quantile(volume, [DARKEST, BRIGHTEST])
            for axis in range(3):
                _slice(panels[row, 3 * group + axis], volume, axis, low, high, voxel, row == 0, name)
    if wedge is not None:
        top = max(float(_power(values, wedge).max()) for values in volumes.values())
        for group, values in enumerate(volumes.values()):
            _spectrum(panels[-1, 3 * group], _power(values, wedge) - top, wedge, voxel)
            for other in panels[-1, 3 * group + 1 : 3 * group + 3]:
                other.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=10, y=1 - 0.15 / height)
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _slice(panel: Any, volume: Any, axis: int, low: float, high: float, voxel: float, first: bool, name: str) -> None:
    """The central slice across an axis, with its axes in nanometres."""
    middle = volume.shape[axis] // 2
    across = [each for each in range(3) if each != axis]
    lengths = [volume.shape[each] * voxel / 10 for each in across]
    extent = (-lengths[1] / 2, lengths[1] / 2, -lengths[0] / 2, lengths[0] / 2)
    panel.imshow(
        np.take(volume, middle, axis),
        cmap="gray",
        vmin=low,
        vmax=high,
        origin="lower",
        extent=extent,
        interpolation="none",
    )
    panel.tick_params(labelsize=6, length=2)
    panel.set_xlabel(f"{AXES[across[1]]}, nm", fontsize=7, labelpad=1)
    panel.set_ylabel(f"{AXES[across[0]]}, nm", fontsize=7, labelpad=1)
    if first:
        panel.set_title(f"{name}: {AXES[axis]} = 0" if name else f"{AXES[axis]} = 0", fontsize=8)


def _power(volumes: Tensor, wedge: Wedge) -> Any:
    """log10 of the mean power in the plane of the beam and the axis across, centred; a mean along the tilt axis too."""
    full = torch.fft.fftn(volumes.detach().double().cpu(), dim=(1, 2, 3)).abs().square().mean(0)
    tilt = next(axis for axis in range(3) if axis not in PLANES[wedge.axis])
    plane = torch.fft.fftshift(full.mean(tilt))
    # The mean of a volume says nothing and would outshine the rest.
    plane[plane.shape[0] // 2, plane.shape[1] // 2] = plane.flatten().sort().values[-2]
    return plane.clamp_min(1e-300).log10().numpy()


def _spectrum(panel: Any, power: Any, wedge: Wedge, voxel: float) -> None:
    edge = 0.5 / voxel * 10  # cycles per nanometre
    panel.imshow(
        power,
        cmap="magma",
        vmin=-DECADES,
        vmax=0,
        origin="lower",
        extent=(-edge, edge, -edge, edge),
        interpolation="none",
    )
    beam, across = PLANES[wedge.axis]
    for tilt in (wedge.low, wedge.high):
        angle = np.radians(tilt)
        reach = edge / max(abs(np.cos(angle)), abs(np.sin(angle)))
        panel.plot(
            [-reach * np.cos(angle), reach * np.cos(angle)],
            [-reach * np.sin(angle), reach * np.sin(angle)],
            color="white",
            linewidth=0.6,
            linestyle="--",
        )
    panel.set(xlim=(-edge, edge), ylim=(-edge, edge))
    panel.tick_params(labelsize=6, length=2)
    panel.set_xlabel(f"k_{AXES[across]}, 1/nm", fontsize=7, labelpad=1)
    panel.set_ylabel(f"k_{AXES[beam]}, 1/nm", fontsize=7, labelpad=1)
    panel.set_title("log power; dashed: tilt range", fontsize=7)
