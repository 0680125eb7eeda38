"""Decides which checkpoint of a run is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping


class Best:
    """Tracks the lowest score, or with ``since_peak`` the lowest since the highest one so far.

    An untrained critic's estimate is low for any generator, so such scores count only after their peak.
    """

    def __init__(self, since_peak: bool) -> None:
        self._since_peak = since_peak
        self._last, self._best, self._peak = math.inf, math.inf, 0.0

    def see(self, score: float) -> None:
        """Adds a score."""
        self._last = score
        if self._since_peak and score > self._peak:
            self._peak, self._best = score, math.inf

    def is_new(self) -> bool:
        """Whether the last score is the best so far."""
        return self._last < self._best

    def keep(self) -> None:
        """Counts the last score as saved. Call it only for checkpoints that an uninterrupted run makes too."""
        self._best = min(self._best, self._last)

    def state_dict(self) -> dict[str, float]:
        return {"estimate": self._best, "peak": self._peak, "last": self._last}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._best, self._peak, self._last = state["estimate"], state["peak"], state["last"]
