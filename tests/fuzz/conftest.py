"""What the fuzzers share: few cases in the suite, all of them where GPGAN_FUZZ names a folder for the counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("child.py")
# Cases of one process.
BATCH = 500


class Tally:
    """Counts the outcomes of a fuzzer's cases and collects its faults.

    A case is determined by its number alone, which a fault names.
    """

    def __init__(self, folder: Path) -> None:
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self._folder = folder

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

    def in_children(self, module: str, few: int, many: int) -> None:
        """Runs a module's cases in processes of their own; one that ends its process is a fault."""
        first, end = 0, len(self.cases(few, many))
        while first < end:
            answers = self._folder / f"{module}-{first}"
            command = [sys.executable, str(CHILD), module, str(first), str(min(first + BATCH, end)), str(answers)]
            paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
            environment = {**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(self._folder / "cache")}
            ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self._folder)
            assert answers.exists(), ended.stderr
            *answered, last = (json.loads(line) for line in answers.read_text("utf-8").splitlines())
            for number, *found in [*answered, last]:
                for outcome in found:
                    self.fault(number, outcome) if outcome.startswith("!") else self.held(outcome)
            if ended.returncode:
                self.fault(last[0], f"the process ended with {ended.returncode}: {ended.stderr}")
            first = last[0] + 1


@pytest.fixture
def tally(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tally]:
    """Fails the test if there were faults; writes the counts otherwise."""
    found = Tally(tmp_path)
    yield found
    if found.faults:
        pytest.fail(f"{len(found.faults)} faults\n" + "\n".join(found.faults), pytrace=False)
    if "GPGAN_FUZZ" in os.environ:
        row = {"tried": sum(found.outcomes.values()), "outcomes": dict(sorted(found.outcomes.items()))}
        folder = Path(os.environ["GPGAN_FUZZ"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{request.node.name}.json").write_text(json.dumps(row) + "\n", "utf-8")
