"""The number of CPU threads that torch uses."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Within the block torch uses this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def may_set() -> bool:
    """Whether a step may change the number, which is process-wide: only in the main thread. Several threads that save it
    and put it back would leave behind what another has set."""
    return threading.current_thread() is threading.main_thread()
