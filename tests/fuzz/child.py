"""Runs cases of a fuzzer in a process of its own, which they may crash: python tests/fuzz/child.py MODULE FIRST END FILE.

The function ``outcome(number)`` of the module answers with a word; a fault begins with "!". FILE gets "[number]" before
a case and [number, answer] after it.
"""

from __future__ import annotations

import importlib
import json
import resource
import signal
import sys
import traceback
import warnings
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
# Memory that the process may map, so that the system refuses what is far too large.
MEMORY = 32 << 30
SECONDS = 60


def main(module: str, first: int, end: int, path: str) -> None:
    outcome = importlib.import_module(module).outcome
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with open(path, "a", encoding="utf-8") as file:
        for number in range(first, end):
            file.write(f"[{number}]\n")
            file.flush()
            signal.alarm(SECONDS)  # ends a process that hangs
            try:
                found = outcome(number)
            except Exception:
                found = "!" + traceback.format_exc(limit=-4)
            file.write(json.dumps([number, found]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
