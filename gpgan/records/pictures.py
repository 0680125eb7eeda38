"""The pictures of a run in its folder."""

from __future__ import annotations

import re
from pathlib import Path


def snapshots(run: Path, most: int) -> list[tuple[int, Path]]:
    """The pictures of a run's fixed latents, with their steps and in their order; fakes_init.png is step 0.

    Of more than ``most``, at least 2, it returns so many: evenly over the pictures, with the first and the last one.
    """
    found = sorted(
        (0 if match[1] == "init" else int(match[1]), path)
        for path in run.glob("fakes_*.png")
        if (match := re.fullmatch(r"fakes_(init|\d+)\.png", path.name))
    )
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]
