"""What the answers of a blind test say: the share that prefers A, its interval, and what a claim needs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

from gpgan.preference.page import ANSWERS, KEY
from gpgan.util.errors import first_line

# Fewer answers than the first give no score, and fewer than the second no claim.
LEAST, CLAIM = 20, 200
CONFIDENCE, POWER = 0.95, 0.8
# A participant must have chosen the real image, not noise, in this share of the attention trials.
ATTENTIVE = 0.9
# A larger file is not one of answers.
LARGEST_FILE = 16 << 20


@dataclass(frozen=True)
class Participant:
    """The answers of one person.

    Attributes:
        name: The random id that the page gave.
        file: Where they were read.
        preferred: "a", "b" or "tie" for each trial of A against B.
        attention: For each attention trial, whether the real image was chosen.
        milliseconds: From the images' appearance to the answer, of each trial of A against B.
    """

    name: str
    file: Path
    preferred: tuple[str, ...]
    attention: tuple[bool, ...]
    milliseconds: tuple[float, ...]

    @property
    def attentive(self) -> bool:
        return sum(self.attention) >= ATTENTIVE * len(self.attention)


@dataclass(frozen=True)
class Preference:
    """The result of a test.

    Attributes:
        a: Answers that prefer A.
        b: Answers that prefer B.
        ties: Answers that prefer neither.
        participants: People whose answers count.
        dropped: People who failed the attention trials.
        median_ms: Of the times of these answers, in milliseconds.
    """

    a: int
    b: int
    ties: int
    participants: int
    dropped: int
    median_ms: float

    @property
    def answers(self) -> int:
        return self.a + self.b + self.ties

    @property
    def share(self) -> float:
        """The share that prefers A; a tie counts half."""
        return (self.a + self.ties / 2) / self.answers

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.share, self.answers)

    @property
    def winner(self) -> str:
        """ "a" or "b" if the answers support a claim, else ""."""
        low, high = self.interval
        if self.answers < CLAIM or low <= 0.5 <= high:
            return ""
        return "a" if low > 0.5 else "b"

    @property
    def needed(self) -> int | None:
        """Answers with which a claim can be expected if the true share is this one; None if no number suffices."""
        return answers_needed(self.share)


def wilson(share: float, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion.

    Args:
        share: The observed proportion, 0 to 1.
        count: The number of answers, 1 or more.
        confidence: Its probability of holding the true proportion.

    Returns:
        Its ends, from 0 to 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def answers_needed(share: float) -> int | None:
    """How many answers show a preference with probability ``POWER`` if the true share is ``share``; at least ``CLAIM``.

    The usual sample size of a test of a proportion against one half; None at one half, where no number suffices.
    """
    if share == 0.5:
        return None
    z, power = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), NormalDist().inv_cdf(POWER)
    root = (z * 0.5 + power * math.sqrt(share * (1 - share))) / (share - 0.5)
    return max(CLAIM, math.ceil(root * root))


def read_key(path: Path) -> dict[str, Any]:
    """The key of a page.

    Raises:
        ValueError: It is not one.
    """
    key = _read(path, KEY, "the key that gpgan prefer wrote beside its page")
    trials = key.get("trials")
    whole = isinstance(trials, dict) and all(
        isinstance(sides, list) and sorted(map(str, sides)) in (["a", "b"], ["noise", "real"])
        for sides in trials.values()
    )
    if not whole or not all(isinstance(key.get(name), str) for name in ("page", "a", "b")):
        raise ValueError(f"{path} is damaged; expected the key as gpgan prefer wrote it: its page, a, b and trials")
    return key


def read_answers(path: Path, key: Mapping[str, Any]) -> Participant:
    """The answers of one participant.

    Args:
        path: The file that the page saved.
        key: Of this page.

    Raises:
        ValueError: The file is damaged, incomplete, or of another page.
    """
    content = _read(path, ANSWERS, "answers as the page saved them")
    if content.get("page") != key["page"]:
        raise ValueError(
            f"{path} has answers to the page {content.get('page')}; expected {key['page']}, the page of the key"
        )
    name, answers, trials = content.get("participant"), content.get("answers"), key["trials"]
    if not isinstance(name, str) or not name:
        raise ValueError(f"{path} is damaged: it names no participant; expected answers as the page saved them")
    if not isinstance(answers, list) or not all(_is_answer(each) for each in answers):
        raise ValueError(
            f"{path} is damaged: expected a list of answers, each with a trial, left, right or tie, and milliseconds"
        )
    if sorted(each["trial"] for each in answers) != sorted(trials):
        raise ValueError(
            f"{path} has {len(answers)} answers, not one to each of the page's {len(trials)} trials; expected a finished "
            "test"
        )
    preferred, attention, milliseconds = [], [], []
    for each in answers:
        left, right = trials[each["trial"]]
        chosen = {"left": left, "right": right, "tie": "tie"}[each["answer"]]
        if "real" in (left, right):
            attention.append(chosen == "real")
        else:
            preferred.append(chosen)
            milliseconds.append(each["ms"])
    return Participant(name, path, tuple(preferred), tuple(attention), tuple(milliseconds))


def score(participants: Sequence[Participant]) -> Preference:
    """The preference of all participants who were attentive.

    Raises:
        ValueError: Two have the same id, or there are fewer than ``LEAST`` answers of attentive participants.
    """
    files: dict[str, Path] = {}
    for each in participants:
        if each.name in files:
            raise ValueError(
                f"{files[each.name]} and {each.file} are of the same participant, {each.name}; expected one file per "
                "participant: leave one out"
            )
        files[each.name] = each.file
    kept = [each for each in participants if each.attentive]
    counts = Counter(answer for each in kept for answer in each.preferred)
    dropped = len(participants) - len(kept)
    if counts.total() < LEAST:
        why = f", after {dropped} of {len(participants)} participants failed the attention trials" if dropped else ""
        raise ValueError(f"there are {counts.total()} valid answers{why}; expected at least {LEAST}")
    times = median(ms for each in kept for ms in each.milliseconds)
    return Preference(counts["a"], counts["b"], counts["tie"], len(kept), dropped, times)


def _read(path: Path, form: str, expected: str) -> dict[str, Any]:
    """A JSON object of this "format"."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file; expected {expected}")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"{path.stat().st_size >> 20} MiB")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({first_line(error)}); expected {expected}") from error
    if not isinstance(content, dict) or content.get("format") != form:
        raise ValueError(f'{path} has no "format": "{form}"; expected {expected}')
    return content


def _is_answer(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("trial"), str)
        and value.get("answer") in ("left", "right", "tie")
        and isinstance(value.get("ms"), (int, float))
        and 0 <= value["ms"] < math.inf
    )
