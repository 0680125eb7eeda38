"""Turns Ctrl-C, a scheduler's SIGTERM and a closed terminal's SIGHUP into a request to stop."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

ECHO = 0.3


def hang_up() -> tuple[signal.Signals, ...]:
    """SIGHUP, unless the system has none or it is ignored."""
    number = getattr(signal, "SIGHUP", None)
    return () if number is None or signal.getsignal(number) in (signal.SIG_IGN, None) else (number,)


class Interrupt:
    """Within the block the first SIGINT, SIGTERM or SIGHUP is only recorded in ``asked``, so that the step can finish and
    be saved.

    A second one has its usual effect, except SIGHUP: a shell and the system may both send it when a terminal closes.
    Signals within ECHO seconds of the first count as the same request: Slurm and a terminal signal every process, and
    torchrun forwards its own signal to them as well. A SIGHUP that is ignored, as under nohup, stays ignored.

    Python delivers signals only to the main thread; in other threads ``asked`` stays 0.

    Attributes:
        asked: The signal's number, or 0.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, *hang_up()):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.asked:
            self.asked, self._since = number, now
        elif now - self._since > ECHO and number not in hang_up():
            self._give_back()
            signal.raise_signal(number)

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
