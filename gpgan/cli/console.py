"""The console of a training run, which may close while the run continues."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO

from rich.console import Console


class Lasting:
    """A text stream that drops what cannot be written: a closed pipe or terminal, or a full disk, must not end a run.

    Args:
        stream: Where the text goes; None if there is none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text, or drops it."""
        with self._dropping():
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes, or gives up."""
        with self._dropping():
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal that still exists."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _dropping(self) -> Any:
        try:
            yield
        except UnicodeError:
            raise
        except (OSError, ValueError):  # ValueError: the stream was closed from Python
            stream, self._stream = self._stream, None
            # The interpreter flushes what is left at its exit, and would fail there.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())  # type: ignore[union-attr]
                os.close(null)


def make_console() -> Console:
    """A console that writes plain text to stdout as long as that is possible."""
    stream: Any = Lasting(sys.stdout)
    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
