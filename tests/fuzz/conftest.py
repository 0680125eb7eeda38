"""What the fuzzers share: few cases in the suite, all of them where GPGAN_FUZZ names a folder for the counts."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import child
import pytest

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["child", "test_kills", "gpgan.cli.train", "gpgan.cli.resume", "torch._dynamo"])
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
        self.faults.append(f"case {number}: {what[:1000]}")

    def in_children(self, module: str, few: int, many: int) -> None:
        """Runs a module's cases in processes of their own; one that ends its process is a fault."""
        first, end = 0, len(self.cases(few, many))
        while first < end:
            answers = self._folder / f"{module}-{first}"
            process = PROCESSES.Process(target=child.run, args=(module, first, min(first + BATCH, end), answers))
            process.start()
            process.join()
            found = [json.loads(line) for line in answers.read_text("utf-8").splitlines()]
            for number, outcome in (line for line in found if len(line) == 2):
                self.fault(number, outcome) if outcome.startswith("!") else self.held(outcome)
            last = found[-1][0]
            if process.exitcode:
                self.fault(last, f"the process ended with {process.exitcode}")
            first = last + 1


@pytest.fixture(autouse=True)
def _server() -> None:
    """Starts the fork server, which imports everything once; processes then start at once."""
    with pytest.MonkeyPatch.context() as patch:
        # It imports its modules before it is told the path of the tests.
        patch.setenv("PYTHONPATH", os.pathsep.join(path or os.getcwd() for path in sys.path))
        process = PROCESSES.Process(target=int)
        process.start()
        process.join()


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
