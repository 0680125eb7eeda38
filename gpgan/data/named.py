"""Samples, labels and test sets among arrays that have names, in a file or in a dict."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gpgan.data.arrays import Array, are_labels, check_labels, dataset_of
from gpgan.data.dataset import Dataset
from gpgan.data.paths import HELD_OUT, TRAINING

SAMPLES = ("x", "images", "samples", "data")
LABELS = ("labels", "y")
# These are labels if they hold integers or words, one per sample.
MAYBE_LABELS = ("label", "target", "targets", "class", "classes")
_PARTS = "|".join(sorted((*TRAINING, *HELD_OUT), key=len, reverse=True))
# Such as x, x_train, train_images and valTargets.
_NAME = re.compile(rf"(?P<before>{_PARTS})?[_-]?(?P<base>.*?)[_-]?(?P<after>{_PARTS})?")


@dataclass
class _Part:
    """The names of the arrays of one part: the training data, or one test set."""

    samples: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    maybe: list[str] = field(default_factory=list)

    def is_clear(self) -> bool:
        return len(self.samples) == 1 and len(self.labels) <= 1


@dataclass(frozen=True)
class _Found:
    names: set[str]
    samples: Array
    labels: Array | None


def dataset_of_named(names: Sequence[str], read: Callable[[str], Array], where: str, name: str) -> Dataset:
    """The data set of arrays with names.

    The samples are the only array, or the one named as in ``SAMPLES``; labels are named as in ``LABELS`` or
    ``MAYBE_LABELS``. Names with a word of ``HELD_OUT``, such as x_test and y_test, are of samples that are held out.
    All other arrays are listed as skipped.

    Args:
        names: Of all arrays.
        read: Gives the array of a name.
        where: Begins the error messages, e.g. "photos.npz holds".
        name: Of the data set.

    Raises:
        ValueError: It is not clear which array holds the samples or the labels, or they do not hold them.
    """
    parts = _parts(names)
    training = parts.pop("")
    if not training.samples:
        others = [each for each in names if each not in training.labels]
        # The only array that is not of labels, or the only array, has any name.
        training.samples = [each for each in others if each not in training.maybe] or others
        training.maybe = [each for each in training.maybe if each not in training.samples]
    if not training.is_clear():
        raise ValueError(
            f"{where} the arrays {', '.join(names) or 'none'}; expected one array, or one of them named "
            f"{', '.join(SAMPLES)}, and at most one named {' or '.join(LABELS)}, or {', '.join(MAYBE_LABELS)}; test "
            "sets are x_test and y_test"
        )
    found = _read(training, read, where)
    tests = [_read(part, read, where) for part in parts.values() if part.is_clear()]
    labels = None
    if found.labels is not None:
        # Where samples have labels, those that have none are of no use.
        tests = [test for test in tests if test.labels is not None]
        labels = np.concatenate([found.labels, *(test.labels for test in tests if test.labels is not None)])
    dataset = dataset_of(found.samples, where, name, labels, [test.samples for test in tests])
    used = found.names.union(*(test.names for test in tests))
    if labels is None:
        used -= set().union(*(part.labels + part.maybe for part in parts.values()))
    unused = tuple(f"array {each}: it holds neither samples nor their labels" for each in names if each not in used)
    return dataclasses.replace(dataset, skipped=unused)


def _parts(names: Sequence[str]) -> dict[str, _Part]:
    """The training data as "", and each test set as its word, such as "test"."""
    parts = {"": _Part()}
    for name in names:
        match = _NAME.fullmatch(name.lower())
        assert match is not None
        word = match["before"] or match["after"] or ""
        part = parts.setdefault(word if word in HELD_OUT else "", _Part())
        for known, kept in ((SAMPLES, part.samples), (LABELS, part.labels), (MAYBE_LABELS, part.maybe)):
            if match["base"] in known or (known is SAMPLES and word and not match["base"]):
                kept.append(name)
    return parts


def _read(part: _Part, read: Callable[[str], Array], where: str) -> _Found:
    samples = read(part.samples[0])
    count = len(samples) if samples.ndim else 0
    named = {each: check_labels(read(each), count, where) for each in part.labels}
    if not named:
        maybe = {each: read(each) for each in part.maybe}
        named = {each: array.reshape(count) for each, array in maybe.items() if are_labels(array, count)}
    if len(named) > 1:
        raise ValueError(f"{where} labels named {' and '.join(named)}; expected one of them: remove the others")
    return _Found({*part.samples, *named}, samples, next(iter(named.values()), None))
