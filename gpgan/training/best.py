"""Which checkpoint of a run is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping


class Best:
    """The lowest score since the highest one so far.

    Before a critic has learnt, its estimate is low for any generator: what counts is the fall from its peak.
    """

    def __init__(self) -> None:
        self._last, self._best, self._peak = math.inf, math.inf, 0.0

    def see(self, score: float) -> None:
        """Takes the score of a tick."""
        self._last = score
        if score > self._peak:
            self._peak, self._best = score, math.inf

    def is_new(self) -> bool:
        """Whether the last score is the best."""
        return self._last < self._best

    def keep(self) -> None:
        """A checkpoint of the last score was made that a run that is never stopped makes, too."""
        self._best = min(self._best, self._last)

    def state_dict(self) -> dict[str, float]:
        return {"estimate": self._best, "peak": self._peak, "last": self._last}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._best, self._peak, self._last = state["estimate"], state["peak"], state["last"]
