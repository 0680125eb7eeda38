"""Pictures of samples: a scatter plot of points over the critic's contour lines, curves of signals, a grid of images,
slices of volumes. matplotlib is imported only when drawing: reading data does not need it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpgan.util.files import replacing

Pixels = NDArray[np.uint8]

# A tile of the grid is enlarged to about this many pixels, so that small images are visible.
TILE = 56
# A dark frame: without one, digits that fill their tiles run together.
GAP, GREY = 8, 40
# The size of the raster for contour lines, and how far it extends beyond the real points.
RASTER = 100
MARGIN = 0.35
# Pixels above a grid of volumes for its labels, and pixels per inch.
LABELS, INCH = 26, 100
# A legend names at most this many channels.
LEGEND = 6


def image_grid(path: Path, images: Tensor, *_: object) -> None:
    """Writes images ``[n, C, H, W]`` in [-1, 1] as a square grid without axes.

    Three channels are RGB, and four are RGB and opacity, shown on white; of any other number only the first is shown, in
    grey.
    """
    import matplotlib.image

    tiles = _pixels(images)
    tiles = tiles.repeat(_zoom(tiles), axis=1).repeat(_zoom(tiles), axis=2)
    with replacing(path) as file:
        matplotlib.image.imsave(file, _mosaic(tiles, math.ceil(math.sqrt(len(tiles)))), format="png")


def write_image(path: Path, image: Tensor) -> None:
    """Writes one image ``[C, H, W]`` in [-1, 1] as a PNG of its own size."""
    import matplotlib.image

    with replacing(path) as file:
        matplotlib.image.imsave(file, _pixels(image[None])[0], format="png")


def volume_grid(path: Path, volumes: Tensor, *_: object) -> None:
    """Writes the central slices across z, y and x of each volume ``[n, C, D, H, W]`` in [-1, 1].

    z is the axis D, y is H and x is W. Slices, not projections: they show the inside, and the projection of a filled
    volume is an even grey. Channels are shown as in ``image_grid``.
    """
    z, y, x = (length // 2 for length in volumes.shape[2:])
    slices = [_pixels(s) for s in (volumes[:, :, z], volumes[:, :, :, y], volumes[:, :, :, :, x])]
    _grouped(path, slices, [f"z = {z}", f"y = {y}", f"x = {x}"])


def image_groups(path: Path, groups: Mapping[str, Tensor]) -> None:
    """Writes the images of each sample side by side, such as input, output and truth, with their names above.

    Args:
        path: The file.
        groups: Names to images ``[n, C, H, W]`` in [-1, 1]; smaller ones are enlarged without interpolation.
    """
    pixels = [_pixels(images) for images in groups.values()]
    largest = max(each.shape[1] for each in pixels)
    enlarged = [
        each.repeat(largest // each.shape[1], axis=1).repeat(largest // each.shape[1], axis=2) for each in pixels
    ]
    _grouped(path, enlarged, list(groups))


def _grouped(path: Path, tiles: Sequence[Pixels], names: Sequence[str]) -> None:
    """Writes a grid of groups: the i-th of every set of tiles [n, h, w, 3] side by side, named above the first row."""
    from matplotlib.figure import Figure

    count = len(tiles)
    side = max(length for each in tiles for length in each.shape[1:3])
    squares = np.full((count, len(tiles[0]), side, side, 3), GREY, dtype=np.uint8)
    for square, pixels in zip(squares, tiles, strict=True):
        height, width = pixels.shape[1:3]
        top, left = (side - height) // 2, (side - width) // 2
        square[:, top : top + height, left : left + width] = pixels
    squares = squares.repeat(_zoom(squares[0]), axis=2).repeat(_zoom(squares[0]), axis=3)
    # Narrower gaps inside a group than between groups.
    squares = np.pad(squares, ((0, 0), (0, 0), (0, 0), (0, GAP // 4), (0, 0)), constant_values=GREY)
    groups = np.concatenate(list(squares), axis=2)
    columns = math.ceil(math.sqrt(len(groups) / count))
    grid = _mosaic(groups, columns)

    height, width = grid.shape[:2]
    figure = Figure(figsize=(width / INCH, (height + LABELS) / INCH), dpi=INCH)
    axes = figure.add_axes((0, 0, 1, height / (height + LABELS)))
    axes.imshow(grid, interpolation="none", aspect="auto")
    pitch, part = groups.shape[2] + GAP, groups.shape[2] / count
    centres = [GAP + column * pitch + (i + 0.5) * part for column in range(columns) for i in range(count)]
    axes.set_xticks(centres, [*names] * columns, fontsize=8)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, left=False, length=2, pad=2)
    axes.spines[:].set_visible(False)
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _pixels(images: Tensor) -> Pixels:
    """Images [n, C, H, W] in [-1, 1] as RGB [n, H, W, 3]."""
    images = images.detach().float().cpu().clamp(-1, 1)
    if images.shape[1] == 4:
        # Opacity from -1 to 1; white is 1.
        images = 1 - (1 - images[:, :3]) * (1 + images[:, 3:]) / 2
    images = images.add(1).mul(127.5).round().to(torch.uint8)
    images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    return images.permute(0, 2, 3, 1).numpy()


def _zoom(tiles: Pixels) -> int:
    side: int = max(tiles.shape[1:3])
    return max(1, round(TILE / side))


def _mosaic(tiles: Pixels, columns: int) -> Pixels:
    """Tiles [n, h, w, 3] in framed rows."""
    count, height, width, _ = tiles.shape
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), GREY, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top, left = GAP + index // columns * (height + GAP), GAP + index % columns * (width + GAP)
        grid[top : top + height, left : left + width] = tile
    return grid


def point_scatter(
    path: Path, samples: Tensor, reals: Tensor | None = None, critic: nn.Module | None = None, title: str = ""
) -> None:
    """Writes a scatter plot of points ``[n, D]``; for D = 2 over the contour lines of the critic, if one is given.

    For D = 1 it is a pair of histograms, for D > 2 the first two coordinates without contour lines. The axes fit the
    real points, or the generated ones if there are none. If ``samples`` is ``reals``, they are drawn once, as real.
    """
    from matplotlib.figure import Figure

    named = (("real", reals, "tab:blue"), ("generated", None if samples is reals else samples, "tab:orange"))
    groups = [(label, points.detach().float().cpu(), colour) for label, points, colour in named if points is not None]
    shown = groups[0][1]
    has_lines = critic is not None and shown.shape[1] == 2
    figure = Figure(figsize=(7, 6), dpi=110)
    # Fixed positions, so that nothing jumps between snapshots.
    axes = figure.add_axes((0.1, 0.08, 0.7 if has_lines else 0.87, 0.86))
    if shown.shape[1] == 1:
        for label, points, colour in groups:
            axes.hist(points[:, 0].numpy(), bins=80, density=True, alpha=0.6, label=label, color=colour)
        axes.set(xlabel="x", ylabel="density", title=title)
    else:
        centre = (shown.amin(0) + shown.amax(0))[:2] / 2
        # A constant coordinate still needs an axis of some length.
        reach = ((1 + MARGIN) * (shown.amax(0) - shown.amin(0))[:2] / 2).clamp(min=1e-3)
        low, high = (centre - reach).tolist(), (centre + reach).tolist()
        if critic is not None and has_lines:
            x, y, scores = _raster(critic, low, high)
            lines = axes.contour(x, y, scores, levels=24, linewidths=0.8, cmap="viridis")
            bar = figure.add_axes((0.83, 0.08, 0.035, 0.86))
            figure.colorbar(lines, cax=bar, label="critic's score (higher: more like real)")
        for label, points, colour in groups:
            axes.scatter(
                points[:, 0].numpy(), points[:, 1].numpy(), s=5, alpha=0.5, linewidths=0, label=label, color=colour
            )
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="x1", ylabel="x2", title=title)
        axes.set_aspect("equal")
    axes.legend(loc="upper right", markerscale=3)
    with replacing(path) as file:
        figure.savefig(file, format="png")


def signal_grid(path: Path, signals: Tensor, reals: object = None, critic: object = None, title: str = "") -> None:
    """Writes signals ``[n, C, T]`` in [-1, 1] as a square grid of curves, one line per channel."""
    from matplotlib.figure import Figure

    values = signals.detach().float().cpu().numpy()
    count, channels, length = values.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(9, 0.8 + 1.6 * rows), dpi=INCH)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    height = figure.get_figheight()
    room = {"bottom": 0.55 / height, "top": 1 - 0.4 / height, "wspace": 0.08, "hspace": 0.12}
    figure.subplots_adjust(left=0.08, right=0.98, **room)
    for index, axes in enumerate(panels.flat):
        if index >= count:
            axes.set_axis_off()
            continue
        for channel in range(channels):
            axes.plot(values[index, channel], linewidth=0.8, label=f"channel {channel}")
        axes.set_xlim(0, length - 1)
        axes.set_ylim(-1.05, 1.05)
        axes.tick_params(labelsize=7, length=2)
        axes.grid(color="0.92")
    figure.supxlabel("sample index", fontsize=9)
    figure.supylabel("amplitude, scaled to [-1, 1]", fontsize=9)
    figure.suptitle(title, fontsize=10)
    if 1 < channels <= LEGEND:
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(), loc="upper right", ncols=channels, fontsize=7, frameon=False
        )
    with replacing(path) as file:
        figure.savefig(file, format="png")


@torch.no_grad()
def _raster(critic: nn.Module, low: list[float], high: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The critic's scores on a raster: x [n], y [n] and scores [n, n]."""
    device = next(critic.parameters()).device
    x, y = (torch.linspace(low[i], high[i], RASTER) for i in range(2))
    points = torch.cartesian_prod(x, y).to(device)
    was = critic.training  # in training mode, normalisation layers update their statistics
    scores = critic.eval()(points).reshape(RASTER, RASTER).T.cpu()
    critic.train(was)
    return x.numpy(), y.numpy(), scores.numpy()
