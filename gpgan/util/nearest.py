"""The closest known name, for messages about an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Names less similar than this, as difflib rates them from 0 to 1, are no hint.
CLOSE = 0.65


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean ...?`` if one of the names is close, else "".

    Case, dashes in front, and "_" for "-" are ignored. Dotted names, such as ``penalty.weight``, are close if both parts
    are; a name without its group, such as ``lr``, is close to ``optimizer.lr``.
    """
    rated = [(_similarity(_plain(name), _plain(each)), each) for each in names]
    best = max((similarity for similarity, _ in rated), default=0.0)
    if best < CLOSE:
        return ""
    near = [each for similarity, each in rated if similarity == best]
    return f"; did you mean {' or '.join(near if best == 1 else near[:1])}?"


def _plain(name: str) -> str:
    return name.lower().lstrip("-").replace("_", "-")


def _similarity(a: str, b: str) -> float:
    (group_a, _, leaf_a), (group_b, _, leaf_b) = a.rpartition("."), b.rpartition(".")
    groups, leaves = (difflib.SequenceMatcher(None, *pair).ratio() for pair in ((group_a, group_b), (leaf_a, leaf_b)))
    if group_a and group_b:
        # The right name in another group is close; another name in the right group is not.
        return (3 + groups) / 4 if leaf_a == leaf_b else min(groups, leaves)
    return max(leaves, difflib.SequenceMatcher(None, a, b).ratio())
