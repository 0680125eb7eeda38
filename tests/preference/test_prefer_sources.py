"""Images as bytes: ranges, sizes, channels, and which rows are drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from gpgan.data import Dataset
from gpgan.preference.sources import Drawn, draw, draw_data, is_run, match

RNG = np.random.default_rng(0)


def pixels(*sets):
    return [each.pixels for each in match(*sets)[0]]


def drawn(tmp_path, array, count, seed=0, what="A"):
    np.save(tmp_path / "a.npy", array)
    return draw(what, str(tmp_path / "a.npy"), count, seed, size=None, trust_code=False, progress=lambda *_: None)


BYTES = RNG.integers(0, 256, (30, 1, 9, 8), dtype=np.uint8)
STORED = {
    "bytes": BYTES,
    "floats 0 to 255": BYTES.astype(np.float32),
    "floats 0 to 1": BYTES / np.float32(255),
    "floats -1 to 1": BYTES / np.float32(127.5) - 1,
    "doubles": BYTES / 255,
    "16 bits": BYTES.astype(np.uint16) * 257,
    "without an axis of channels": BYTES[:, 0],
}


@pytest.mark.parametrize("case", STORED)
def test_every_range_gives_the_same_bytes(tmp_path, case):
    [found] = pixels(drawn(tmp_path, STORED[case], 30))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0)).numpy()
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, BYTES[order])


def test_dark_images_stay_dark_beside_others(tmp_path):
    """Stretched to white, they would have a scale of their own."""
    dark, others = drawn(tmp_path, BYTES // 8, 30), drawn(tmp_path, BYTES, 30)
    (first, second), notes = match(dark, others)
    np.testing.assert_array_equal(first.pixels, second.pixels // 8)
    [note] = notes
    assert note.endswith("values from 0 to 31 are shown on the scale of the others, 0 to 255")
    [found] = pixels(drawn(tmp_path, BYTES // 8 / np.float32(255), 30))
    assert found.max() == 31


def test_values_are_rounded(tmp_path):
    values = np.tile(np.float32([0, 99.4, 99.6, 255]), (4, 8, 2))
    assert set(np.unique(pixels(drawn(tmp_path, values, 4)))) == {0, 99, 100, 255}


def test_samples_may_overshoot(tmp_path):
    values = np.tile(np.float32([-3, 100, 258, 20]), (4, 8, 2))
    assert set(np.unique(pixels(drawn(tmp_path, values, 4)))) == {0, 20, 100, 255}


def test_one_range_for_all_values_of_no_usual_range(tmp_path):
    a = drawn(tmp_path, np.tile(np.float32([0, 16]), (4, 8, 4)), 4)
    b = drawn(tmp_path, np.tile(np.float32([-4, 8]), (4, 8, 4)), 4, what="B")
    (first, second), notes = match(a, b)
    assert [set(np.unique(each.pixels)) for each in (first, second)] == [{51, 255}, {0, 153}]
    assert notes == ["values from -4 to 16 are shown as black to white"]


@pytest.mark.parametrize("others", [[BYTES / np.float32(127.5) - 1], [BYTES, BYTES / np.float32(255)]])
def test_a_range_that_no_scale_of_the_others_holds(tmp_path, others):
    a = drawn(tmp_path, np.tile(np.float32([-9, 16]), (4, 8, 4)), 4)
    with pytest.raises(
        ValueError, match=r"^the images differ in their range of values: .* -9 to 16, .*; expected the same"
    ):
        match(a, *(drawn(tmp_path, each, 4) for each in others))


def test_the_same_rows_of_sets_of_equal_length(tmp_path):
    a, b, c = pixels(*(drawn(tmp_path, each, 10, seed) for each, seed in ((BYTES, 3), (255 - BYTES, 3), (BYTES, 4))))
    np.testing.assert_array_equal(a, 255 - b)
    assert not np.array_equal(a, c)


def test_too_few(tmp_path):
    with pytest.raises(ValueError, match=r"B is '.*a\.npy', with 30 images; expected 31 or more, one per trial: -n or"):
        drawn(tmp_path, BYTES, 31, what="B")


@pytest.mark.parametrize("shape", [(30, 2), (30, 2, 8, 8), (30, 1, 40), (30, 3, 4, 4, 4)], ids=str)
def test_no_images(tmp_path, shape):
    with pytest.raises(ValueError, match=r"samples of shape .*; expected images of 1 or 3 channels \(C, H, W\)"):
        drawn(tmp_path, RNG.normal(size=shape), 10)


def test_samples_that_are_not_finite():
    values = torch.zeros(3, 1, 4, 4)
    values[1] = torch.nan
    with pytest.raises(ValueError, match="real has samples with NaN or infinite values"):
        draw_data("real", "mine", Dataset("mine", values), 3, 0)


def test_a_folder_of_a_size(tmp_path):
    for number in range(4):
        Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    for size, side in ((None, 40), (16, 16)):
        found = draw("A", str(tmp_path), 4, 0, size=size, trust_code=False, progress=lambda *_: None)
        assert found.values.shape == (4, 3, side, side)


def test_what_is_a_run(tmp_path):
    for folder in ("run", "new", "photos"):
        (tmp_path / folder).mkdir()
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "new" / "config.json").touch()
    (tmp_path / "file.npy").touch()
    found = {path.name for path in tmp_path.iterdir() if is_run(str(path))}
    assert found == {"run", "new"}
    assert not is_run("fashion")


def images(name, channels, height, width):
    return Drawn(name, torch.from_numpy(RNG.integers(0, 256, (3, channels, height, width))).float(), 0.0, 255.0)


def test_equal_images_are_left_alone():
    sets = [images(name, 3, 8, 6) for name in "abc"]
    matched, notes = match(*sets)
    assert notes == []
    for one, drawn in zip(matched, sets, strict=True):
        np.testing.assert_array_equal(one.pixels, drawn.values)


def test_smaller_images_are_enlarged_by_repeating_pixels():
    small, large = images("small", 1, 4, 6), images("large", 1, 12, 18)
    (first, second), notes = match(small, large)
    np.testing.assert_array_equal(first.pixels, np.kron(small.values, np.ones((1, 1, 3, 3))))
    np.testing.assert_array_equal(second.pixels, large.values)
    assert notes == ["small: enlarged 3 times, to 18 x 12, by repeating pixels"]


def test_grey_images_become_rgb_beside_rgb():
    grey, colour = images("grey", 1, 4, 4), images("colour", 3, 4, 4)
    (first, _), notes = match(grey, colour)
    assert all(np.array_equal(first.pixels[:, channel], grey.values[:, 0]) for channel in range(3))
    assert notes == ["grey: grey images, beside others in colour"]


@pytest.mark.parametrize("other", [(5, 5), (4, 8), (8, 4), (6, 8)])
def test_sizes_that_do_not_divide(other):
    with pytest.raises(
        ValueError, match=r"^the images differ in size: a 4 x 4, b .* pixels; expected one size, or whole"
    ):
        match(images("a", 1, 4, 4), images("b", 1, *other))
