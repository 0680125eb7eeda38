"""The closest known name, for messages about an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean ...?`` if one of the names is close, else "". Case is ignored."""
    lowered = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1)
    return f"; did you mean {lowered[near[0]]}?" if near else ""
