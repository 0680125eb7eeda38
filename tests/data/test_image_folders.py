"""Folders of images: more than 8 bits, test folders, and what is left out or said."""

import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from gpgan.data import load, split
from gpgan.data.images import read_image
from gpgan.data.paths import test_folders as folders_of

RNG = np.random.default_rng(0)


def grey(side=32, below=256, dtype=np.uint8):
    return RNG.integers(0, below, (side, side)).astype(dtype)


def said(photos):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load(photos)
    assert [str(each.message) for each in caught] == [f"{photos}: {note}" for note in dataset.notes]
    return dataset, dataset.notes


def png(values, kind):
    """A PNG of 16 bits per channel, of a kind that Pillow cannot write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "tif", "jp2"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_sixteen_bits_are_kept_and_scaled_as_those_of_an_array(picture, photos, save, suffix, bits):
    values = np.stack([grey(below=2**bits, dtype=np.uint16) for _ in range(4)])
    for number, each in enumerate(values):
        picture(f"{number}.{suffix}", each, **({"irreversible": False} if suffix == "jp2" else {}))
    dataset, notes = said(photos)
    array = load(save(values))
    assert torch.equal(dataset.stored, array.stored)
    assert (dataset.scale, dataset.offset, notes) == (array.scale, array.offset, ())
    assert dataset.fingerprint() == array.fingerprint()
    assert (dataset.samples().min(), dataset.samples().max()) == (-1, 1)


def test_sixteen_bits_are_resized_without_rounding_to_eight(picture, photos):
    ramp = np.linspace(1000, 5000, 256).astype(np.uint16)
    picture("a.png", ramp[None].repeat(256, 0))
    picture("b.png", ramp[:, None].repeat(256, 1))
    dataset = load(photos, size=64)
    shown = dataset.stored.numpy().astype(float)
    # Each pixel is about the mean of the four that it covers; the ends keep their range.
    assert np.abs(shown[0, 0, 30, 2:-2] - ramp.reshape(64, 4).mean(1)[2:-2]).max() <= 1
    assert (shown.min() >= 1000, shown.max() <= 5000) == (True, True)


def test_bytes_of_a_small_range_are_scaled_by_it(picture, photos, save):
    for below, ends in ((2, (0, 1)), (17, (0, 16)), (256, (0, 255))):
        values = np.stack([grey(below=below) for _ in range(3)])
        for number, each in enumerate(values):
            picture(f"{number}.png", each)
        dataset = load(photos)
        assert (dataset.offset - dataset.scale, dataset.offset + dataset.scale) == ends
        assert dataset.fingerprint() == load(save(values)).fingerprint()
    # The same, from a palette.
    for number, each in enumerate(values // 128):
        image = Image.fromarray(each, "P")
        image.putpalette([0, 0, 0, 1, 1, 1] + [9] * 762)
        picture(f"{number}.png", image)
    assert load(photos).stored.unique().tolist() == [0, 1]
    assert load(photos).scale == 0.5


def test_what_eight_bits_cannot_hold_is_said(picture, photos):
    for name in ("a.png", "b.png"):
        picture(name, grey(below=4096, dtype=np.uint16))
    picture("c.png", grey())
    dataset, notes = said(photos)
    assert dataset.stored.dtype == torch.uint8
    top = max(np.asarray(Image.open(f"{photos}/{name}.png")).max() for name in "ab")
    assert notes == (
        f"16 bits (of 0 to 65535 they use up to {top}) rounded to 8, as others have no more: 2 of 3 images, e.g. a.png "
        "(32 x 32 pixels)",
    )


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "LA", "RGBA"])
def test_channels_of_sixteen_bits_are_said(picture, photos, kind, channels):
    for name in ("a.png", "b.png"):
        picture(name, grey()).write_bytes(png(RNG.integers(0, 65536, (32, 32, channels)), kind))
    assert said(photos)[1] == (
        "channels of 16 bits, of which only the upper 8 are read: 2 of 2 images, e.g. a.png (32 x 32 pixels)",
    )


@pytest.mark.parametrize("suffix", ["tiff", "gif", "png", "webp"])
def test_further_pages_are_left_out_by_name(picture, photos, suffix):
    first, more = Image.fromarray(grey()), [Image.fromarray(grey()) for _ in range(3)]
    picture(f"b.{suffix}", first, save_all=True, append_images=more)
    line = f"all pages or frames but the first (save each in a file of its own): 1 of {{}} images, e.g. b.{suffix} (32 x 32"
    with pytest.raises(ValueError, match="holds one sample; expected two or more; left out: all pages or frames but"):
        load(photos)
    picture("a.png", grey())
    dataset = load(photos)
    assert len(dataset) == 2
    assert [skipped.startswith(line.format(2)) for skipped in dataset.skipped] == [True]


def test_a_photo_with_a_preview_has_no_further_pages(picture, photos):
    image = Image.fromarray(grey()).convert("RGB")
    picture("a.jpg", image, format="MPO", save_all=True, append_images=[image.resize((16, 16))])
    picture("b.jpg", image)
    assert load(photos).skipped == ()


def test_images_that_are_blown_up_or_mostly_cut_are_named(picture, photos):
    for name in ("1.png", "2.png", "3.png"):
        picture(name, grey(64))
    assert said(photos)[1] == ()
    picture("dot.png", grey(1))
    picture("long.png", RNG.integers(0, 256, (20, 2000), np.uint8))
    picture("tall.png", RNG.integers(0, 256, (400, 64), np.uint8))
    assert said(photos)[1] == (
        "enlarged more than twofold, to a side of 64: 2 of 6 images, e.g. dot.png (1 x 1 pixels)",
        "cropped to less than a quarter: 2 of 6 images, e.g. long.png (2000 x 20 pixels)",
    )


LAYOUTS = {
    "parts first": [
        f"{part}/{kind}/{n}.png" for part in ("train", "test") for kind in ("cat", "dog") for n in range(3)
    ],
    "classes first": [
        f"{kind}/{part}/{n}.png" for part in ("Training", "VAL") for kind in ("cat", "dog") for n in range(3)
    ],
    "below another folder": [
        f"pictures/{part}/{kind}/{n}.png" for part in ("train", "valid") for kind in ("cat", "dog") for n in range(3)
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_test_folders_are_held_out(picture, photos, layout):
    parts = {name: grey() for name in LAYOUTS[layout]}
    for name, part in parts.items():
        picture(name, part)
    dataset, notes = said(photos)
    assert (len(dataset), len(dataset.held_out), notes) == (6, 6, ())
    for stored, trained in ((dataset.stored, True), (dataset.held_out, False)):
        names = sorted(name for name in parts if ("train" in name.lower()) == trained)
        assert np.array_equal(stored.numpy()[:, 0], np.stack([parts[name] for name in names]))
    if layout != "below another folder":  # There, the first folder of all is the same.
        assert dataset.classes == ("cat", "dog")
        assert dataset.labels.tolist() == dataset.held_out_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert split(dataset) is dataset


def test_validation_and_test_folders_and_none_that_can_be_read(picture, photos):
    for name in ("train/1.png", "train/2.png", "test/3.png", "validation/4.png"):
        picture(name, grey())
    dataset = load(photos)
    assert (len(dataset), len(dataset.held_out), dataset.labels) == (2, 2, None)
    for name in ("test/3.png", "validation/4.png"):
        picture(name, grey()).write_bytes(b"broken")
    assert load(photos).held_out is None
    for name in ("train/1.png", "train/2.png"):
        picture(name, grey()).write_bytes(b"broken")
    picture("test/3.png", grey())
    with pytest.raises(ValueError, match="holds no samples to train on; expected two or more; left out: "):
        load(photos)


def test_test_images_without_labels_leave_the_labels_of_the_others(picture, photos):
    for name in ("train/cat/1.png", "train/dog/2.png", "train/dog/3.png", "test/4.png", "test/cat/5.png"):
        picture(name, grey())
    dataset = load(photos)
    assert dataset.classes == ("cat", "dog")
    assert (dataset.labels.tolist(), dataset.held_out_labels.tolist()) == ([0, 1, 1], [0])
    assert dataset.skipped == ("1 image in test folders without a class's folder, as training images have",)


@pytest.mark.parametrize("names", [("train", "bus", "car"), ("test", "control"), ("train",), ("val", "bus")], ids=str)
def test_classes_that_are_named_like_a_part(picture, photos, names):
    for name in names:
        for number in range(2):
            picture(f"{name}/{number}.png", grey())
    dataset, notes = said(photos)
    assert (dataset.held_out, notes) == (None, ())
    assert dataset.classes == (tuple(sorted(names)) if len(names) > 1 else ())


@pytest.mark.parametrize("names", [("train/a", "test/a", "extra/a"), ("train/a", "test/a", "."), ("val/a", "test/a")])
def test_parts_that_are_not_held_out_are_said(picture, photos, names):
    for name in names:
        for number in range(2):
            picture(f"{name}/{number}.png", grey())
    dataset, (note,) = said(photos)
    assert len(dataset) == 2 * len(names)
    assert note.endswith("nothing is held out for them, and all files are trained on")


def test_names_do_not_control_the_console(picture, photos):
    for name in ("1.png", "2.png"):
        picture(name, grey(64))
    picture("dot\x1b[31m\r\n.png", grey(1))
    picture("bad\x1b]0;title\x07\n.png", grey()).write_bytes(b"broken")
    dataset, (note,) = said(photos)
    assert note.endswith(r"e.g. dot\x1b[31m\r\n.png (1 x 1 pixels)")
    assert dataset.skipped[0].startswith(r"bad\x1b]0;title\x07\n.png: cannot identify")
    assert all(line.isprintable() for line in dataset.skipped)


def test_folders_of_no_files():
    assert folders_of([]) == ([], [], [])


def test_images_for_a_network_are_scaled_as_its_data(picture):
    twelve = grey(below=4096, dtype=np.uint16)
    path = picture("a.png", twelve)
    wanted = twelve / 2047.5 - 1
    assert read_image(path, 1, 2047.5, 2047.5)[0].numpy() == pytest.approx(wanted, abs=1e-6)
    # Of other bits, or beyond the range of the data: by all values that the file's bits can have.
    assert read_image(path, 1)[0].numpy() == pytest.approx(twelve / 32767.5 - 1, abs=1e-6)
    eight = picture("b.png", grey())
    for scale in ((127.5, 127.5), (2047.5, 2047.5), (8.0, 8.0), (0.5, 0.5)):
        assert read_image(eight, 1, *scale)[0].numpy() == pytest.approx(np.asarray(Image.open(eight)) / 127.5 - 1)
    mask = picture("c.png", grey(below=2))
    assert read_image(mask, 1, 0.5, 0.5).unique().tolist() == [-1, 1]
    rgba = RNG.integers(0, 256, (8, 8, 4), np.uint8)
    shown = read_image(picture("d.png", rgba), 4)
    assert shown.numpy() == pytest.approx(rgba.transpose(2, 0, 1) / 127.5 - 1, abs=1e-6)
    with pytest.raises(ValueError, match="takes 5 channels, and an image file has 1, 3 or 4"):
        read_image(path, 5)
