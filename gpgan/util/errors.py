"""What an error says, and the errors of several subjects."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class NotFiniteSamplesError(ValueError):
    """A batch holds NaN or infinite values."""
