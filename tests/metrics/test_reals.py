"""The real samples of an evaluation: which they are, and that no two parts share any."""

import dataclasses

import pytest
import torch

from gpgan.data import Dataset, split
from gpgan.data.split import selection_size
from gpgan.metrics.features.raw import Raw
from gpgan.metrics.reals import Compared, Rows, report_part, selection_part


def numbered(count, held_out=None):
    """Sample i is (i, 0)."""
    own = None if held_out is None else torch.stack([torch.arange(held_out) + 10_000.0, torch.zeros(held_out)], 1)
    return Dataset(
        "numbered", torch.stack([torch.arange(count, dtype=torch.float32), torch.zeros(count)], 1), held_out=own
    )


@pytest.fixture
def by(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Compared(Raw((2,)), None)


def ids(samples):
    return set(samples.values[:][:, 0].int().tolist())


def parts_of(reals):
    return [ids(reals.real), *(ids(draw) for draw in reals.draws)]


def disjoint(parts):
    return len(set().union(*parts)) == sum(map(len, parts))


def test_held_out_samples_are_compared_with_training_samples(by):
    reals = report_part(split(numbered(1000)), 80, 0, by)
    parts = parts_of(reals)
    assert reals.held_out
    assert [len(part) for part in parts] == [80] * 6
    assert disjoint(parts)
    assert len(reals.training) == 900
    assert not ids(reals.real) & ids(reals.training)


def test_a_test_set_of_its_own(by):
    reals = report_part(numbered(300, held_out=50), 100, 0, by)
    assert [len(part) for part in parts_of(reals)] == [50] * 6
    assert min(ids(reals.real)) >= 10_000


@pytest.mark.parametrize(
    ("count", "n", "exactly", "sizes"),
    [
        (18, 100, False, [9, 9]),  # too few for a tenth to be held out: they are halved
        (18, 100, True, [18]),  # no samples are left for a floor
        (18, 4, True, [4, 4, 4, 4]),
    ],
)
def test_samples_without_a_held_out_part_are_divided(by, count, n, exactly, sizes):
    reals = report_part(numbered(count), n, 0, by, exactly=exactly)
    assert [len(part) for part in parts_of(reals)] == sizes
    assert disjoint(parts_of(reals))
    assert not reals.held_out


def test_the_selection_is_none_of_what_is_trained_or_reported_on(by):
    whole = numbered(1200)
    dataset = split(whole, selection_size(whole))
    chosen = selection_part(dataset, 1000, by)
    assert len(chosen.real) == 100
    assert disjoint([ids(report_part(dataset, 120, 0, by).real), *parts_of(chosen)])
    assert ids(chosen.training) <= set(dataset.rows.tolist())


def test_another_seed_compares_with_other_samples(by):
    dataset = numbered(100, held_out=90)
    first, again, other = (report_part(dataset, 20, seed, by) for seed in (0, 0, 1))
    assert parts_of(first) == parts_of(again) != parts_of(other)


def test_what_is_kept_on_disk_depends_on_the_samples(by):
    """Complaint: statistics of other data, or of another number of samples, were taken from a cache."""
    data = numbered(100)
    rows = Rows(data, data.stored, torch.arange(50))
    changed = data.stored.clone()
    changed[7, 1] = 0.5
    others = [
        Rows(data, data.stored, torch.arange(49)),
        Rows(data, data.stored, torch.arange(1, 51)),
        Rows(data, data.stored.double(), torch.arange(50)),
        Rows(data, changed, torch.arange(50)),
        Rows(dataclasses.replace(data, scale=2.0), data.stored, torch.arange(50)),
    ]
    assert Rows(data, data.stored, torch.arange(50)).digest() == rows.digest()
    assert len({rows.digest(), *(other.digest() for other in others)}) == 6
    assert torch.equal(by.set_of("a", rows).derived("sum", lambda: torch.ones(1)), torch.ones(1))
    assert torch.equal(by.set_of("a", rows).derived("sum", lambda: torch.zeros(1)), torch.ones(1))
    for other in others:
        assert torch.equal(by.set_of("a", other).derived("sum", lambda: torch.zeros(1)), torch.zeros(1))
