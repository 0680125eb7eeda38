"""The ladder of a data set: what known corruptions of real samples score, to place the scores of generated ones on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpgan.data import cache
from gpgan.metrics.metric import Metric
from gpgan.util.files import write_json

# In the user's cache folder.
FOLDER = "ladders"
COMMITTED = Path(__file__).with_name("ladders")
# What a strength is called, by corruption.
WORDS = {
    "blur": "blur {:.2g}",
    "noise": "noise {:.2g}",
    "missing": "{:.1f} classes missing",
    "repeats": "every image {:.1f} times",
    "copies": "{:.0%} copies",
}


@dataclass(frozen=True)
class Ladder:
    """What corrupted real samples score.

    Attributes:
        about: The data's fingerprint and name, the network, n, and how it was measured.
        rungs: By corruption, then by metric: pairs (strength, score), from the weakest on; strength 0 is the floor.
        deviations: By metric: the standard deviation of the floor.
    """

    about: Mapping[str, Any]
    rungs: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
    deviations: Mapping[str, float] = field(default_factory=dict)

    def place(self, metric: Metric, score: float, n: int) -> str:
        """Where a score is on the first ladder that the metric claims to see, e.g. "as blur 0.7"; "" if unknown.

        Between two rungs it is interpolated. A score of another number of samples is placed only if the metric is
        unbiased.
        """
        if not metric.sees or (n != self.about["n"] and not metric.unbiased):
            return ""
        kind = metric.sees[0]
        rungs = list(self.rungs.get(kind, {}).get(metric.name, ()))
        sign = -1 if metric.better == "higher" else 1
        if len(rungs) < 2:
            return ""
        # Within the chance of real samples.
        if sign * score <= sign * rungs[0][1] + 2 * self.deviations.get(metric.name, 0.0):
            return "as good as real samples"
        for (low, at_low), (high, at_high) in itertools.pairwise(rungs):
            if sign * score <= sign * at_high:
                share = (score - at_low) / (at_high - at_low) if at_high != at_low else 0.0
                return "as " + WORDS[kind].format(low + share * (high - low))
        return "worse than " + WORDS[kind].format(rungs[-1][0])


def find(fingerprint: str, identity: str, n: int) -> Ladder | None:
    """The ladder of this data and network: one that ``gpgan ladder`` measured here, or a committed one; or None.

    One of n samples is preferred.
    """
    fitting = []
    for path in (*sorted((cache.folder() / FOLDER).glob("*.json")), *sorted(COMMITTED.glob("*.json"))):
        try:
            found = read(path)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        if (found.about["fingerprint"], found.about["identity"]) == (fingerprint, identity):
            fitting.append(found)
    return min(fitting, key=lambda each: each.about["n"] != n, default=None)


def read(path: Path) -> Ladder:
    """A ladder from a file; raises OSError, ValueError, LookupError, TypeError or AttributeError if it is none."""
    values = json.loads(path.read_bytes())
    rungs = {
        kind: {name: [(float(a), float(b)) for a, b in each] for name, each in metrics.items()}
        for kind, metrics in values["rungs"].items()
    }
    about = {name: values["about"][name] for name in values["about"]}
    about["fingerprint"], about["identity"], about["n"]
    return Ladder(about, rungs, {name: float(each) for name, each in values["deviations"].items()})


def save(ladder: Ladder, path: Path | None = None) -> Path:
    """Writes a ladder, by default to the user's cache folder, where ``find`` looks."""
    if path is None:
        about = ladder.about
        path = cache.folder() / FOLDER / f"{cache.key(about['fingerprint'], about['identity'], about['n'])}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, as_json(ladder))
    return path


def as_json(ladder: Ladder) -> dict[str, Any]:
    """A ladder as plain values."""
    rungs = {kind: {name: list(each) for name, each in metrics.items()} for kind, metrics in ladder.rungs.items()}
    return {"about": dict(ladder.about), "deviations": dict(ladder.deviations), "rungs": rungs}
