"""Finds the snapshots in a run's folder."""

from __future__ import annotations

import re
from pathlib import Path


def snapshots(run: Path, most: int) -> list[tuple[int, Path]]:
    """The snapshots of a run's fixed inputs as (step, path), sorted by step; fakes_init.png is step 0.

    It returns at most ``most`` (2 or more), evenly spaced, with the first and the last one.
    """
    found = sorted(
        (0 if match[1] == "init" else int(match[1]), path)
        for path in run.glob("fakes_*.png")
        if (match := re.fullmatch(r"fakes_(init|\d+)\.png", path.name))
    )
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]
