"""What a lab is, and what it returns.

A lab is a module of this package with

    TITLE: str      one line
    CAPTION: str    a paragraph: what is shown, what theory predicts, and the source
    def run(progress: Progress) -> Findings

``run`` returns the same numbers every time: it uses its own random states and leaves the global one alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

Progress = Callable[[float, str], None]
"""Called with the share that is done, 0 to 1, and what is being done."""


@dataclass(frozen=True)
class Slider:
    """A slider on the HTML page, over numbers that were computed beforehand."""

    label: str
    """What the slider sets, e.g. "gap between the lines"."""
    positions: tuple[float, ...]
    """The values of the slider."""
    readings: dict[str, tuple[float, ...]]
    """By name: the number shown at each position."""
    clouds: dict[str, tuple[tuple[tuple[float, float], ...], ...]]
    """By name: the points (x, y) of a cloud at each position."""
    joined: bool = True
    """Whether a reading's values are joined by a line; dots suit a reading that jumps between positions."""


@dataclass(frozen=True)
class Findings:
    """The results of a lab."""

    numbers: dict[str, float]
    """Flat; each key says what its number is."""
    figure: Figure
    """Made without pyplot, which has global state."""
    see: tuple[str, str, str]
    """Three sentences: what the picture shows, with the measured numbers."""
    slider: Slider | None = None


def span(progress: Progress, start: float, end: float) -> Progress:
    """Progress for a part of a lab, reported as progress of the whole: 0 becomes ``start`` and 1 becomes ``end``."""
    return lambda share, what: progress(start + share * (end - start), what)
