"""Which values become -1 and 1, and which axis is what: what is read, said and refused."""

import warnings

import numpy as np
import pytest
import torch

from gpgan.data import Dataset, load
from gpgan.data.scaling import bounds

RNG = np.random.default_rng(0)


def said(path):
    """The data set and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load(path)
    assert [str(each.message) for each in caught] == [f"{path}: {note}" for note in dataset.notes]
    return dataset, dataset.notes


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        ("uint8", 0, 16, (0, 16)),
        ("uint8", 0, 84, (0, 84)),
        ("uint8", 0, 85, (0, 255)),
        ("uint8", 200, 255, (200, 255)),
        ("float32", 0, 0.3, (0, 0.3)),
        ("float32", 0, 0.34, (0, 1)),
        ("float64", 0.9, 1, (0.9, 1)),
        ("float64", -0.1, 0.1, (-0.1, 0.1)),
        ("float16", -0.4, 0.4, (-1, 1)),
        ("uint16", 0, 1023, (0, 1023)),
        ("int32", 0, 1023, (0, 1023)),
    ],
    ids=str,
)
def test_the_range_used_is_what_becomes_the_networks_range(save, dtype, low, high, expected):
    assert bounds(np.dtype(dtype), low, high) == expected
    values = np.linspace(low, high, 40).reshape(10, 4).astype(dtype)
    dataset = load(save(values))
    assert (dataset.offset - dataset.scale, dataset.offset + dataset.scale) == pytest.approx(
        expected, rel=1e-3, abs=1e-3
    )
    assert (dataset.samples() * dataset.scale + dataset.offset).numpy() == pytest.approx(values.astype(float), abs=1e-3)


def test_columns_and_channels_that_one_scale_flattens_are_named(save):
    table = np.stack([RNG.uniform(0, 90, 50), RNG.uniform(0, 1e6, 50), np.full(50, 7.0)], 1)
    dataset, notes = said(save(table))
    # One scale, as before; a constant column is no matter of units.
    assert dataset.scale == pytest.approx((table.max() - table.min()) / 2)
    assert len(notes) == 1
    assert notes[0].startswith("column 0 from ")
    assert "scale each to [-1, 1] first" in notes[0]
    channels = RNG.random((9, 3, 40)) * np.array([1, 1000, 2])[:, None]
    assert "2 channels, e.g. channel 0, from" in said(save(channels))[1][0]
    assert "channel 1 from" in said(save(RNG.random((9, 4, 20, 20)) * np.array([1, 0.001, 1, 1])[:, None, None]))[1][0]
    for even in (table[:, 1:], np.stack([table[:, 0], table[:, 0] * 80], 1), RNG.random((9, 3, 40))):
        assert said(save(even))[1] == ()


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((9, 8, 8, 3), "(0, 3, 1, 2)"),
        ((9, 8, 12, 3), "(0, 3, 1, 2)"),
        ((9, 8, 8, 1), "(0, 3, 1, 2)"),
        ((9, 8, 8, 4), "(0, 3, 1, 2)"),
        ((9, 4, 4, 3), "(0, 3, 1, 2)"),
        ((9, 32, 32, 2), "(0, 3, 1, 2)"),
        ((9, 8, 8, 8, 3), "(0, 4, 1, 2, 3)"),
        ((9, 200, 2), "(0, 2, 1)"),
        ((9, 24, 3), "(0, 2, 1)"),
    ],
    ids=str,
)
def test_channels_last_is_refused_with_its_transpose(save, shape, fix):
    array = RNG.random(shape).astype(np.float32)
    many = "channels" if shape[-1] > 1 else "channel"
    with pytest.raises(ValueError, match=f"apparently with its {shape[-1]} {many} last") as caught:
        load(save(array))
    assert f"array.transpose{fix}" in str(caught.value)
    moved = np.moveaxis(array, -1, 1)
    assert load(save(moved)).shape == moved.shape[1:]


def test_what_is_refused_as_an_array_is_taken_as_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "narrow.py").write_text(
        "import torch\nfrom gpgan.data import Dataset\nMINE = Dataset('mine', torch.rand(9, 8, 8, 3))\n"
    )
    assert load("narrow:MINE").shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((9, 32, 32, 13), "read as 1 channel of 32 x 32 x 13"),
        ((9, 12, 12, 8), "read as 12 channels of 12 x 8"),
        ((9, 200, 8), "read as 1 channel of 200 x 8"),
    ],
    ids=str,
)
def test_a_layout_that_may_be_another_is_said(save, shape, read):
    _, (note,) = said(save(RNG.random(shape)))
    assert read in note
    assert f"if its {shape[-1]} last are channels" in note


@pytest.mark.parametrize(
    "shape",
    [(9, 8, 4, 4), (9, 3, 3, 3), (9, 13, 32, 32), (9, 32, 16, 16), (9, 28, 28), (9, 7, 1), (9, 2, 200)],
    ids=str,
)
def test_usual_layouts_are_read_without_a_word(save, shape):
    dataset, notes = said(save(RNG.random(shape)))
    assert dataset.stored.numel() == np.prod(shape)
    assert notes == ()


def test_one_axis_is_refused_with_its_fix(save):
    with pytest.raises(ValueError, match=r"shape \(60,\); expected points .*: array\[:, None\]"):
        load(save(RNG.random(60)))


def test_the_order_in_memory_does_not_matter(save):
    array = RNG.integers(0, 255, (9, 5, 6)).astype(np.uint8)
    one, other = load(save(array, "c.npy")), load(save(np.asfortranarray(array), "f.npy"))
    assert torch.equal(one.stored, other.stored)
    assert one.fingerprint() == other.fingerprint()


def test_data_that_was_read_right_keeps_its_hash(save):
    """Runs on such data, begun by an earlier version, can be resumed."""
    bytes_ = (np.arange(9 * 5 * 6) % 256).astype(np.uint8).reshape(9, 5, 6)
    points = np.linspace(-3, 5, 40).reshape(20, 2)
    hashes = [load(save(array)).fingerprint()[:16] for array in (bytes_, points)]
    assert hashes == ["72d69d21a67fac02", "06604e7cb2efa2c6"]
    assert Dataset("a", torch.eye(3)).fingerprint()[:16] == "f437a648d1b3a5dd"
