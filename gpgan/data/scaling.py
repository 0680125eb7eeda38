"""Which original values become -1 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np

# Values that use less of their type's usual range than this are scaled by the range they use.
USED = 1 / 3
# A column or channel whose range is a smaller part of the whole than this hardly varies for the networks.
NARROW = 1 / 100


def bounds(dtype: np.dtype[Any], low: float, high: float) -> tuple[float, float]:
    """The values that become -1 and 1, from the type and the smallest and largest value of the samples.

    Bytes and floats in [-1, 1] keep their usual range, 0 to 255, 0 to 1 or -1 to 1, if the values use a third of it.
    """
    if dtype == np.uint8:
        usual = (0.0, 255.0)
    elif dtype.kind == "f" and low >= -1 and high <= 1:
        usual = (0.0, 1.0) if low >= 0 else (-1.0, 1.0)
    else:
        return low, high
    return usual if high - low >= USED * (usual[1] - usual[0]) else (low, high)


def narrow_note(lows: np.ndarray[Any, Any], highs: np.ndarray[Any, Any], whole: float, axis: str) -> tuple[str, ...]:
    """Names the columns or channels ``[C]`` that one scale for all makes almost constant; those that are constant do
    not count.

    Args:
        lows: The smallest value of each.
        highs: The largest value of each.
        whole: The range that becomes [-1, 1].
        axis: "column" or "channel".
    """
    spans = highs.astype(np.float64) - lows.astype(np.float64)
    narrow = ((spans > 0) & (spans < NARROW * whole)).nonzero()[0]
    if not len(narrow):
        return ()
    first = narrow[0]
    several = f"{axis} {first}" if len(narrow) == 1 else f"{len(narrow)} {axis}s, e.g. {axis} {first},"
    return (
        f"{several} from {lows[first]:g} to {highs[first]:g}, and one scale of {whole:g} for all: less than a "
        f"hundredth of what the networks see; if the {axis}s have different units, scale each to [-1, 1] first",
    )
