"""What an error says, and the errors of several subjects."""

from __future__ import annotations

import re

# How text is made bold or coloured on a terminal, as torch.load's message is.
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without bold and colours; with its type if that is only a key or a number,
    as of ``KeyError: 3``."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    line = next((line for line in STYLE.sub("", str(error)).splitlines() if line.strip()), "")
    if " " in line.strip() and any(map(str.isalpha, line)):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def reason(error: BaseException) -> str:
    """An error's whole message; that of the system with the file's name in place of its number."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) if " " in str(error) and not isinstance(error, OSError) else first_line(error)


class NotFiniteSamplesError(ValueError):
    """A batch holds NaN or infinite values."""
