"""The nearest of the names there are, for messages about one that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean ...?`` where one of the names is near, else nothing. Capitals do not matter."""
    lowered = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1)
    return f"; did you mean {lowered[near[0]]}?" if near else ""
