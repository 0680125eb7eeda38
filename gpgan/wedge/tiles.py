"""Large volumes, restored tile by tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from gpgan.data.paths import Progress

# Bytes that the default network takes for each voxel of a tile: 663, by the peak memory of one tile and of 16 of 32 voxels.
BYTES = 700


def restore_tiled(
    halves: Tensor, side: int, restore: Callable[[Tensor], Tensor], batch: int, progress: Progress | None = None
) -> Tensor:
    """Restores overlapping tiles and blends them by a cosine window, whose weights add up to 1 everywhere.

    The volume is continued by reflection, so that its borders are restored like its middle.

    Args:
        halves: ``[C, D, H, W]``, on the CPU.
        side: Of a tile in voxels, even.
        restore: From tiles ``[B, C, side, side, side]`` to ``[B, side, side, side]``.
        batch: Tiles at once.
        progress: Called with (tiles done, tiles in all).

    Returns:
        ``[D, H, W]``.
    """
    step = side // 2
    shape = halves.shape[1:]
    padded = _reflected(halves, [_padding(size, step) for size in shape])
    total = torch.zeros(padded.shape[1:])
    window = _window(side)
    places = list(_places(padded.shape[1:], step))
    for start in range(0, len(places), batch):
        some = places[start : start + batch]
        tiles = torch.stack([padded[(slice(None), *_at(place, side))] for place in some])
        for place, made in zip(some, restore(tiles).cpu(), strict=True):
            total[_at(place, side)] += window * made
        if progress:
            progress(min(start + batch, len(places)), len(places))
    d, h, w = shape
    return total[step : step + d, step : step + h, step : step + w]


def tiles_at_once(side: int, memory: int) -> int:
    """How many tiles fit into ``memory`` MiB.

    Raises:
        ValueError: Not even one does.
    """
    need = BYTES * side**3
    if memory << 20 < need:
        raise ValueError(
            f"memory is {memory} MiB, and a tile of {side} voxels takes {math.ceil(need / 2**20)}; expected at least as much"
        )
    return (memory << 20) // need


def _padding(size: int, step: int) -> tuple[int, int]:
    """Voxels before and after an axis: one step at each end, and what is missing to whole steps."""
    return step, step + (-size) % step


def _places(shape: Sequence[int], step: int) -> Iterator[tuple[int, ...]]:
    ranges = [range(0, size - 2 * step + 1, step) for size in shape]
    return ((z, y, x) for z in ranges[0] for y in ranges[1] for x in ranges[2])


def _at(place: Sequence[int], side: int) -> tuple[slice, ...]:
    return tuple(slice(start, start + side) for start in place)


def _window(side: int) -> Tensor:
    """sin^2 along each axis: with tiles every half side it adds up to 1."""
    along = torch.sin(torch.pi * (torch.arange(side) + 0.5) / side).square()
    return along[:, None, None] * along[:, None] * along


def _reflected(volumes: Tensor, padding: Sequence[tuple[int, int]]) -> Tensor:
    """Continues ``[C, D, H, W]`` by reflection, as often as it takes for a thin volume."""
    for axis, (before, after) in enumerate(padding, 1):
        size = volumes.shape[axis]
        places = torch.arange(-before, size + after)
        period = max(2 * size - 2, 1)
        folded = places.remainder(period)
        volumes = volumes.index_select(axis, torch.where(folded < size, folded, period - folded))
    return volumes
