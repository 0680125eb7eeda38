"""Running compiled critics as they are underneath."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

_lock = threading.Lock()
_inside = 0
_stance: Any = None


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Within the block what is compiled runs uncompiled.

    The stance is the whole process's: the first thread to come sets it and the last to leave puts it back, where a
    thread each with its own would put back another's.
    """
    global _inside, _stance
    with _lock:
        if _inside == 0:
            _stance = torch.compiler.set_stance("force_eager")  # it acts when it is made
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _stance is not None:
                _stance.__exit__(None, None, None)
