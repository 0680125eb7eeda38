"""What the fuzzers share: few cases in the suite, all of them where GPGAN_FUZZ names a folder for the counts."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest


class Tally:
    """Counts the outcomes of a fuzzer's cases and collects its faults.

    A case is determined by its number alone, which a fault names.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []

    @staticmethod
    def cases(few: int, many: int) -> range:
        """The numbers of the cases: ``few`` in the suite, ``many`` by ``make fuzz``."""
        return range(many if "GPGAN_FUZZ" in os.environ else few)

    def held(self, outcome: str, count: int = 1) -> None:
        """Counts cases that ended as they may."""
        self.outcomes[outcome] += count

    def fault(self, number: int, what: str) -> None:
        """Adds a case that ended as it may not."""
        self.faults.append(f"case {number}: {what}")


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Fails the test if there were faults; writes the counts otherwise."""
    found = Tally()
    yield found
    if found.faults:
        pytest.fail(f"{len(found.faults)} faults\n" + "\n".join(found.faults), pytrace=False)
    if "GPGAN_FUZZ" in os.environ:
        row = {"tried": sum(found.outcomes.values()), "outcomes": dict(sorted(found.outcomes.items()))}
        folder = Path(os.environ["GPGAN_FUZZ"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{request.node.name}.json").write_text(json.dumps(row) + "\n", "utf-8")
