"""Pictures of samples: a grid for images, a scatter over the critic's level lines for points."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from gpgan.training.files import replacing

# A tile of the grid is enlarged to about this many pixels, so that small images are visible.
TILE = 56
# A dark frame: digits that fill their tile run into each other without one.
GAP, GREY = 8, 40
# The size of the level lines' raster, and how far it reaches beyond the real points.
RASTER = 200
MARGIN = 0.35


def image_grid(path: Path, images: Tensor) -> None:
    """Writes images ``[n, C, H, W]`` in [-1, 1] as a square grid without axes.

    Three channels are RGB; of any other number only the first is shown, in grey.
    """
    images = images.detach().float().cpu().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    zoom = max(1, round(TILE / max(images.shape[2:])))
    images = images.repeat_interleave(zoom, dim=2).repeat_interleave(zoom, dim=3)
    count, _, height, width = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = int(np.ceil(count / columns))
    grid = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), GREY, dtype=np.uint8)
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = GAP + index // columns * (height + GAP), GAP + index % columns * (width + GAP)
        grid[top : top + height, left : left + width] = image
    with replacing(path) as file:
        matplotlib.image.imsave(file, grid, format="png")


def point_scatter(path: Path, real: Tensor, fake: Tensor | None, critic: nn.Module | None, title: str) -> None:
    """Writes a scatter of points ``[n, D]``; for D = 2 over the level lines of the critic, where one is given.

    For D = 1 it is a pair of histograms, for D > 2 the first two coordinates without level lines.
    """
    figure = Figure(figsize=(7, 6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    real = real.detach().float().cpu()
    groups = [("real", real, "tab:blue")] + (
        [("generated", fake.detach().float().cpu(), "tab:orange")] if fake is not None else []
    )
    if real.shape[1] == 1:
        for label, points, colour in groups:
            axes.hist(points[:, 0].numpy(), bins=80, density=True, alpha=0.6, label=label, color=colour)
        axes.set(xlabel="x", ylabel="density", title=title)
    else:
        centre = (real.amin(0) + real.amax(0))[:2] / 2
        # A column that does not vary still needs an axis of some length.
        reach = ((1 + MARGIN) * (real.amax(0) - real.amin(0))[:2] / 2).clamp(min=1e-3)
        low, high = (centre - reach).tolist(), (centre + reach).tolist()
        if critic is not None and real.shape[1] == 2:
            x, y, scores = _raster(critic, low, high)
            lines = axes.contour(x, y, scores, levels=24, linewidths=0.8, cmap="viridis")
            figure.colorbar(lines, ax=axes, label="critic's score (higher: more like real)")
        for label, points, colour in groups:
            axes.scatter(
                points[:, 0].numpy(), points[:, 1].numpy(), s=5, alpha=0.5, linewidths=0, label=label, color=colour
            )
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="x1", ylabel="x2", title=title)
        axes.set_aspect("equal")
    axes.legend(loc="upper right", markerscale=3)
    with replacing(path) as file:
        figure.savefig(file, format="png")


@torch.no_grad()
def _raster(critic: nn.Module, low: list[float], high: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The critic's scores on a raster: x [n], y [n] and scores [n, n]."""
    device = next(critic.parameters()).device
    x, y = (torch.linspace(low[i], high[i], RASTER) for i in range(2))
    points = torch.cartesian_prod(x, y).to(device)
    scores = critic(points).reshape(RASTER, RASTER).T.cpu()
    return x.numpy(), y.numpy(), scores.numpy()
