"""Warnings that point at the caller's line."""

from __future__ import annotations

import sys
import warnings

_given: set[str] = set()
# Stack frames of these packages are skipped to find the caller's line.
_INSIDE = ("gpgan", "torch")


def warn_once(message: str) -> None:
    """Warns once per process, at the line outside of gpgan and torch that led here."""
    if message not in _given:
        _given.add(message)
        warn(message)


def warn(message: str) -> None:
    """Warns at the line outside of gpgan and torch that led here."""
    level = 1
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
