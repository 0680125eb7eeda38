"""The score of a blind test: intervals against closed values and SciPy, and every file that must be refused."""

import json
import math

import pytest
from scipy.stats import binomtest, norm

from gpgan.preference import score
from gpgan.preference.page import ANSWERS, KEY
from gpgan.preference.score import Participant, Preference, answers_needed, read_answers, read_key, wilson

PAGE = "0123456789abcdef"


def key(pairs=30, attention=10):
    """A on the left in every other pair, the real image in every other attention trial."""
    kinds = [("a", "b")] * pairs + [("real", "noise")] * attention
    return {
        "format": KEY,
        "page": PAGE,
        "a": "runs/a",
        "b": "runs/b",
        "trials": {f"t{i}": list(sides if i % 2 else sides[::-1]) for i, sides in enumerate(kinds)},
    }


def answers(of, participant="p1", choose=lambda sides: sides.index("a"), wrong=0):
    """The file of a participant who prefers ``choose`` and fails the first ``wrong`` attention trials."""
    given = []
    for trial, sides in of["trials"].items():
        if "real" in sides:
            wrong -= 1
            side = sides.index("noise" if wrong >= 0 else "real")
        else:
            side = choose(sides)
        given.append({"trial": trial, "answer": ["left", "right", "tie"][side], "ms": 700 + len(given)})
    return {"format": ANSWERS, "page": PAGE, "participant": participant, "answers": given}


@pytest.fixture
def write(tmp_path):
    def write(content, name="answers.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return write


def test_wilson_of_sixty_of_a_hundred():
    low, high = wilson(0.6, 100)
    assert (round(low, 3), round(high, 3)) == (0.502, 0.691)


@pytest.mark.parametrize(("votes", "count"), [(0, 20), (1, 20), (10, 20), (60, 100), (130, 200), (1000, 1000), (1, 1)])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_wilson_is_that_of_scipy(votes, count, confidence):
    exact = binomtest(votes, count).proportion_ci(confidence, method="wilson")
    assert wilson(votes / count, count, confidence) == pytest.approx((exact.low, exact.high), abs=1e-12)


@pytest.mark.parametrize("share", [0.51, 0.55, 0.58, 0.45])
def test_the_answers_needed_give_the_power(share):
    """With that many answers a test at the 5 % level finds the preference in four of five studies."""
    count = answers_needed(share)
    shown = 0.5 + norm.ppf(0.975) * 0.5 / math.sqrt(count)
    larger = max(share, 1 - share)
    assert norm.sf(shown, larger, math.sqrt(share * (1 - share) / count)) == pytest.approx(0.8, abs=0.005)


def test_the_answers_needed_are_at_least_those_of_a_claim():
    assert [answers_needed(share) for share in (0, 0.1, 0.6, 0.9, 1)] == [200] * 5
    assert answers_needed(0.5) is None
    assert answers_needed(0.55) == 783


def result(a, b, ties=0):
    return Preference(a, b, ties, 1, 0, 700.0)


def test_a_tie_counts_half():
    assert result(50, 30, 20).share == 0.6
    assert result(50, 30, 20).interval == wilson(0.6, 100)
    assert result(0, 0, 30).share == 0.5


@pytest.mark.parametrize(
    ("counts", "winner"),
    [
        ((60, 40), ""),
        ((199, 0), ""),
        ((110, 90), ""),
        ((113, 87), ""),
        ((114, 86), "a"),
        ((86, 114), "b"),
        ((200, 0), "a"),
    ],
)
def test_a_claim_needs_answers_and_an_interval_off_one_half(counts, winner):
    assert result(*counts).winner == winner


def read(write, *files, of=None):
    of = of or key()
    write(of, "prefer.key.json")
    loaded = read_key(write(of, "prefer.key.json"))
    return [read_answers(write(each, f"{i}.json"), loaded) for i, each in enumerate(files)]


def test_the_sides_are_taken_from_the_key(write):
    of = key()
    everyone = read(
        write,
        answers(of, "p1"),
        answers(of, "p2", choose=lambda sides: sides.index("b")),
        answers(of, "p3", choose=lambda sides: 2),
        answers(of, "p4", choose=lambda sides: 0),
    )
    found = score.score(everyone)
    assert (found.a, found.b, found.ties, found.answers) == (45, 45, 30, 120)
    assert (found.participants, found.dropped) == (4, 0)
    assert found.median_ms == 714.5


@pytest.mark.parametrize(
    ("attention", "wrong", "kept"), [(10, 1, True), (10, 2, False), (3, 0, True), (3, 1, False), (0, 0, True)]
)
def test_who_failed_attention_is_left_out(write, attention, wrong, kept):
    of = key(attention=attention)
    found = score.score(read(write, answers(of, "p1"), answers(of, "p2", lambda s: s.index("b"), wrong), of=of))
    assert (found.a, found.b) == (30, 30 if kept else 0)
    assert (found.participants, found.dropped) == ((2, 0) if kept else (1, 1))


def test_a_tie_between_real_and_noise_is_a_failure(write):
    of = key(attention=3)
    content = answers(of)
    content["answers"][-1]["answer"] = "tie"
    assert not read(write, content, of=of)[0].attentive


def test_fewer_than_twenty_valid_answers(write):
    of = key(pairs=19)
    with pytest.raises(ValueError, match=r"there are 19 valid answers; expected at least 20"):
        score.score(read(write, answers(of), of=of))
    assert score.score(read(write, answers(of), answers(of, "p2"), of=of)).answers == 38
    with pytest.raises(
        ValueError, match=r"19 valid answers, after 1 of 2 participants failed the attention trials; exp"
    ):
        score.score(read(write, answers(of), answers(of, "p2", wrong=5), of=of))


def test_one_participant_twice(write):
    of = key()
    with pytest.raises(ValueError, match=r"0\.json and .*1\.json are of the same participant, p1"):
        score.score(read(write, answers(of), answers(of)))


def changed(change):
    content = answers(key())
    change(content)
    return content


BAD = {
    "no JSON": ("{", "cannot be read (Expecting"),
    "binary": ("\x00\x01", "cannot be read"),
    "deep": ("[" * 200_000, "cannot be read"),
    "a list": ([], 'has no "format": "gpgan prefer answers 1"; expected answers as the page saved them'),
    "a key": (key(), 'has no "format"'),
    "another page": (
        changed(lambda c: c.update(page="ffff")),
        "has answers to the page ffff; expected 0123456789abcdef",
    ),
    "no participant": (changed(lambda c: c.pop("participant")), "names no participant"),
    "no answers": (changed(lambda c: c.pop("answers")), "expected a list of answers"),
    "no side": (changed(lambda c: c["answers"][3].update(answer="a")), "left, right or tie"),
    "a list as side": (changed(lambda c: c["answers"][3].update(answer=[])), "left, right or tie"),
    "a list as trial": (changed(lambda c: c["answers"][3].update(trial=[])), "expected a list of answers"),
    "no time": (changed(lambda c: c["answers"][3].update(ms="1")), "milliseconds"),
    "NaN as time": (changed(lambda c: c["answers"][3].update(ms=math.nan)), "milliseconds"),
    "negative time": (changed(lambda c: c["answers"][3].update(ms=-1)), "milliseconds"),
    "unfinished": (changed(lambda c: c["answers"].pop()), "has 39 answers, not one to each of the page's 40 trials"),
    "one trial twice": (
        changed(lambda c: c["answers"][3].update(trial="t0")),
        "has 40 answers, not one to each of the page's 40 trials; expected a finished test",
    ),
    "unknown trial": (changed(lambda c: c["answers"][3].update(trial="x")), "not one to each"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_answers(write, case):
    content, message = BAD[case]
    with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
        read(write, content)
    assert message in str(raised.value)


def test_a_huge_time_is_no_crash(write):
    assert read(write, changed(lambda c: c["answers"][3].update(ms=10**400)))[0].attentive


@pytest.mark.parametrize(
    "change",
    [
        {"trials": None},
        {"trials": {"t0": ["a", "a"]}},
        {"trials": {"t0": "ab"}},
        {"trials": {"t0": [1, None]}},
        {"page": 3},
        {"a": None},
    ],
)
def test_a_damaged_key(write, change):
    with pytest.raises(ValueError, match=r"key\.json is damaged; expected the key as gpgan prefer wrote it"):
        read_key(write({**key(), **change}, "key.json"))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json cannot be read \(No such file or directory\); expected the key"):
        read_key(tmp_path / "none.json")
    with pytest.raises(ValueError, match="is not a regular file"):
        read_key(tmp_path)


def test_a_participant_without_attention_trials_is_attentive(tmp_path):
    assert Participant("p", tmp_path, (), (), ()).attentive
