"""What an error says, and the errors of several subjects."""

from __future__ import annotations

import re

# How text is made bold or coloured on a terminal, as torch.load's message is.
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without bold and colours, or its type if it has none."""
    return (STYLE.sub("", str(error)).splitlines() or [type(error).__name__])[0]


class NotFiniteSamplesError(ValueError):
    """A batch holds NaN or infinite values."""
