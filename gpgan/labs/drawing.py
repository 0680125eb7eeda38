"""What the labs' pictures have in common."""

from __future__ import annotations

from matplotlib.axes import Axes


def finish(axes: Axes, title: str, x: str, y: str) -> None:
    """Title, labels of both axes, grid and legend."""
    axes.set_title(title, fontsize=12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
