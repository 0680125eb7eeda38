"""Dataset, split and Order."""

import dataclasses

import numpy as np
import pytest
import torch

from gpgan.data import Dataset, Mixture, Order, split
from gpgan.data import dataset as module
from gpgan.data.split import selection_size


def numbered(count, **more):
    """Sample i is (i, -i)."""
    values = torch.arange(count, dtype=torch.float32)
    return Dataset("numbered", torch.stack([values, -values], 1), **more)


def test_samples_are_scaled_whatever_the_type():
    for dtype in (torch.uint8, torch.int16, torch.uint16, torch.int64, torch.float16, torch.float64):
        dataset = Dataset("a", torch.tensor([[0], [51], [204], [255]]).to(dtype), 127.5, 127.5)
        assert dataset.samples().dtype == torch.float32
        assert dataset.samples().flatten().tolist() == pytest.approx([-1, -0.6, 0.6, 1])
        assert dataset.samples(torch.tensor([3, 0])).flatten().tolist() == [1, -1]
        assert dataset.samples(slice(1, 3)).flatten().tolist() == pytest.approx([-0.6, 0.6])


FAULTS = {
    "a list": (TypeError, {"stored": [[1.0]]}, "stored is a list; expected a Tensor"),
    "one axis": (ValueError, {"stored": torch.zeros(4)}, r"shape \(4,\); expected one of points \[N, D\]"),
    "no scale": (ValueError, {"scale": 0.0}, "scale is 0.0"),
    "infinite offset": (ValueError, {"offset": float("inf")}, "offset inf"),
    "few labels": (
        ValueError,
        {"labels": torch.zeros(3, dtype=torch.int64)},
        r"shape \(3,\); expected torch.int64 and \(4,\)",
    ),
    "float labels": (ValueError, {"labels": torch.zeros(4)}, "labels is a torch.float32"),
    "labels beyond the classes": (ValueError, {"labels": torch.arange(4)}, "ranges from 0 to 3; expected 0 to 1"),
    "held out of another shape": (ValueError, {"held_out": torch.zeros(2, 5)}, r"held_out has samples of shape \(5,\)"),
    "held-out labels": (
        ValueError,
        {"held_out": torch.zeros(2, 2), "held_out_labels": torch.tensor([0, -1])},
        "held_out_labels ranges from -1 to 0",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_parts_that_do_not_fit(case):
    error, parts, message = FAULTS[case]
    with pytest.raises(error, match=message):
        Dataset("a", **{"stored": torch.zeros(4, 2), "classes": ("x", "y"), **parts})


def test_fingerprint_sees_every_change(monkeypatch):
    labels = torch.arange(100) % 2
    one = numbered(100, labels=labels, classes=("a", "b"))
    altered = one.stored.clone()
    altered[99, 1] += 1
    others = [
        dataclasses.replace(one, stored=altered),
        dataclasses.replace(one, stored=one.stored.double()),
        dataclasses.replace(one, stored=one.stored.reshape(50, 4), labels=None),
        dataclasses.replace(one, labels=1 - labels),
        dataclasses.replace(one, labels=None),
        dataclasses.replace(one, scale=2.0),
        dataclasses.replace(one, offset=2.0),
    ]
    assert len({other.fingerprint() for other in [one, *others]}) == 8
    same = dataclasses.replace(one, name="b", stored=one.stored.clone())
    assert same.fingerprint() == one.fingerprint()
    # Hashed in blocks of three rows, and with rows that are not contiguous in memory.
    monkeypatch.setattr(module, "BLOCK_BYTES", 24)
    assert dataclasses.replace(one, stored=one.stored.t().contiguous().t()).fingerprint() == one.fingerprint()


def test_split_sets_a_fixed_tenth_aside():
    labels = torch.arange(205) % 3
    whole = numbered(205, labels=labels, classes=("a", "b", "c"), modes=Mixture(torch.zeros(1, 2), 1.0), scale=0.5)
    torch.manual_seed(1)
    parts = split(whole)
    torch.manual_seed(2)
    assert torch.equal(split(whole).held_out, parts.held_out)
    assert (len(parts), len(parts.held_out)) == (185, 20)
    trained, aside = parts.samples()[:, 0] / 2, parts.held_out[:, 0]
    assert torch.equal(torch.cat([trained, aside]).sort().values, torch.arange(205.0))
    # Neither the first tenth nor every tenth sample.
    assert aside.diff().unique().numel() > 3
    assert torch.equal(parts.labels, labels[trained.long()])
    assert torch.equal(parts.held_out_labels, labels[aside.long()])
    assert torch.equal(parts.samples(torch.tensor([7, 0])), parts.samples()[[7, 0]])
    assert torch.equal(parts.samples(slice(5)), parts.samples()[:5])
    # The stored samples are shared, and the fingerprint is the same.
    assert parts.stored is whole.stored
    assert parts.fingerprint() == whole.fingerprint()
    assert split(parts) is parts


def test_split_of_little_much_and_already_split():
    few = numbered(19)
    assert split(few) is few
    assert len(split(numbered(20)).held_out) == 2
    assert len(split(numbered(60_000)).held_out) == 2500
    own = numbered(100, held_out=torch.ones(5, 2))
    assert split(own) is own


def test_order_goes_through_all_samples_in_every_epoch():
    stream = Order(7, seed=3).indices(0, 70)
    assert stream.dtype == torch.int64
    epochs = stream.view(10, 7)
    assert torch.equal(epochs.sort(1).values, torch.arange(7).expand(10, 7))
    assert len(epochs.unique(dim=0)) > 8


def test_order_depends_on_count_seed_and_position_alone():
    whole = Order(50, seed=1).indices(0, 500)
    order = Order(50, seed=1)
    # Backwards, across epochs, and in parts of every size.
    for start, count in ((480, 20), (45, 170), (0, 1), (49, 2), (100, 0), (3, 50)):
        assert torch.equal(order.indices(start, count), whole[start : start + count])
    assert not torch.equal(Order(50, seed=2).indices(0, 50), whole[:50])
    # A change here would make resumed runs differ.
    assert (
        Order(5, seed=0).indices(0, 10).tolist()
        == np.concatenate([np.random.default_rng((0, epoch)).permutation(5) for epoch in (0, 1)]).tolist()
    )


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (5, -1)])
def test_order_refuses(count, seed):
    with pytest.raises(ValueError, match="expected"):
        Order(count, seed)


def test_order_refuses_positions_before_the_start():
    for start, count in ((-1, 3), (0, -1)):
        with pytest.raises(ValueError, match="expected 0 or more"):
            Order(5, 0).indices(start, count)


def test_a_selection_is_set_aside_beside_the_held_out_part():
    whole = numbered(1200, labels=torch.arange(1200) % 2, classes=("a", "b"))
    parts, without = split(whole, 100), split(whole)
    assert (len(parts), len(parts.held_out), len(parts.selection)) == (980, 120, 100)
    assert torch.equal(parts.held_out, without.held_out)
    assert without.selection is None
    assert parts.fingerprint() == without.fingerprint() == whole.fingerprint()
    seen = torch.cat([parts.samples(), parts.scaled(parts.held_out), whole.samples(parts.selection)]).flatten()
    assert torch.equal(seen.sort().values, whole.samples().flatten().sort().values)
    assert torch.equal(parts.labels, whole.labels[parts.rows])


def test_a_selection_of_data_with_a_held_out_part_of_its_own():
    own = numbered(30, held_out=torch.zeros(5, 2))
    parts = split(own, 10)
    assert (len(parts), len(parts.selection)) == (20, 10)
    assert parts.held_out is own.held_out
    assert not set(parts.rows.tolist()) & set(parts.selection.tolist())


def test_the_size_of_a_selection():
    assert selection_size(numbered(599)) == 0
    assert selection_size(numbered(600)) == selection_size(split(numbered(600))) == 50
    assert selection_size(numbered(60_000)) == 2500
