"""Ctrl-C, and a scheduler's request to end, as requests."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

ECHO = 0.3


class Interrupt:
    """Within the block the first SIGINT or SIGTERM is only noted in ``asked``, so that a step ends whole and is saved; a
    second one has the effect that it would have outside. What follows the first within ECHO seconds is the same request:
    Slurm and a terminal signal every process, and torchrun passes its own signal on to them once more.

    Outside the main thread, where Python delivers no signals, ``asked`` stays 0.

    Attributes:
        asked: The signal's number, or 0.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.asked:
            self.asked, self._since = number, now
        elif now - self._since > ECHO:
            self._give_back()
            signal.raise_signal(number)

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
