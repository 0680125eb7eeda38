"""Warnings that point at the caller's own line, each given once."""

from __future__ import annotations

import sys
import warnings

_given: set[str] = set()
# Frames of these packages lie between a warning and the code that it concerns.
_INSIDE = ("gpgan", "torch")


def warn_once(message: str) -> None:
    """Warns once per process, naming the line outside of gpgan that led here."""
    if message in _given:
        return
    _given.add(message)
    level = 1
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
