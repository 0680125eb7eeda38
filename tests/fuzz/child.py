"""Runs cases of a fuzzer in a process of its own, which they may crash.

The function ``outcome(number)`` of the module answers with a word; a fault begins with "!". The file gets "[number]"
before a case and [number, answer] after it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import traceback
import warnings
from pathlib import Path

import torch

# Memory that the process may map, so that the system refuses what is far too large.
MEMORY = 32 << 30
SECONDS = 60


def run(module: str, first: int, end: int, file: Path) -> None:
    """Runs the cases ``first`` to ``end - 1`` in the file's folder."""
    os.chdir(file.parent)
    os.environ.update(XDG_CACHE_HOME=str(file.parent / "cache"), XDG_STATE_HOME=str(file.parent / "state"))
    outcome = importlib.import_module(module).outcome
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with file.open("a", encoding="utf-8") as answers:
        for number in range(first, end):
            answers.write(f"[{number}]\n")
            answers.flush()
            signal.alarm(SECONDS)  # ends a process that hangs
            try:
                found = outcome(number)
            except Exception:
                found = "!" + traceback.format_exc(limit=-4)
            answers.write(json.dumps([number, found]) + "\n")
