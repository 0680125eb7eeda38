"""What a lab is, and what it finds.

A lab is a module of this package with

    TITLE: str      a line
    CAPTION: str    a paragraph: what is shown, what theory says of it, and the source
    def run(progress: Progress) -> Findings

``run`` gives the same numbers every time: it draws from random states of its own and leaves the global one alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

Progress = Callable[[float, str], None]
"""Told the share that is done, 0 to 1, and what is being done."""


@dataclass(frozen=True)
class Slider:
    """A slider on the HTML page, over numbers that were computed before."""

    label: str
    """What is being slid, e.g. "gap between the lines"."""
    positions: tuple[float, ...]
    """What the slider can be set to."""
    readings: dict[str, tuple[float, ...]]
    """The number shown for each position, by its name on the page."""
    clouds: dict[str, tuple[tuple[tuple[float, float], ...], ...]]
    """For each named cloud, for each position, its points (x, y)."""
    joined: bool = True
    """Whether a line joins a reading's values; dots stand for themselves where a reading jumps between positions."""


@dataclass(frozen=True)
class Findings:
    """What a lab found."""

    numbers: dict[str, float]
    """Flat; the keys say what they are."""
    figure: Figure
    """Made without pyplot, which has global state."""
    see: tuple[str, str, str]
    """What to see, with the numbers that were found."""
    slider: Slider | None = None


def span(progress: Progress, start: float, end: float) -> Progress:
    """The progress of a part of a lab, told as that of the whole: 0 becomes ``start`` and 1 becomes ``end``."""
    return lambda share, what: progress(start + share * (end - start), what)
