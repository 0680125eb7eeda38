"""Folders of images."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from gpgan.data import cache, images, load

RNG = np.random.default_rng(0)


def grey(height=32, width=32):
    return RNG.integers(0, 256, (height, width), np.uint8)


def colour(height=32, width=32):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def pixels(dataset, number=0):
    """[H, W] of a grey image, [H, W, 3] of a coloured one."""
    image = dataset.stored[number].permute(1, 2, 0).numpy()
    return image[:, :, 0] if image.shape[2] == 1 else image


def test_images_come_as_they_are_in_the_order_of_their_paths(picture, photos):
    parts = [colour() for _ in range(4)]
    for name, part in zip(("b/1.png", "B.PNG", "a b/c/Straße 日本.bmp", "a.png"), parts, strict=True):
        picture(name, part)
    calls = []
    dataset = load(photos, progress=lambda *done: calls.append(done))
    assert dataset.shape == (3, 32, 32)
    assert [pixels(dataset, n).tolist() for n in range(4)] == [parts[n].tolist() for n in (1, 2, 3, 0)]
    assert (dataset.name, dataset.scale, dataset.offset, dataset.skipped) == ("photos", 127.5, 127.5, ())
    assert (dataset.samples().min(), dataset.samples().max()) == (-1, 1)
    assert calls == [(n // 2, 4) for n in range(1, 9)]
    # One image is not in a sub-folder, so there are no labels.
    assert dataset.labels is None


def test_first_sub_folder_is_the_label(picture, photos):
    for name in ("cat/2/x.png", "cat/1.png", "dog/3.png", "ant/4.png"):
        picture(name, grey())
    picture("bad/5.png", grey()).write_bytes(b"no image")
    dataset = load(photos)
    # A folder without readable images gives no class.
    assert dataset.classes == ("ant", "cat", "dog")
    assert dataset.labels.tolist() == [0, 1, 1, 2]
    assert dataset.labels.dtype == torch.int64
    assert load(f"{photos}/cat").labels is None


def test_grey_where_all_are_grey(picture, photos):
    one = grey()
    picture("a.png", one)
    picture("b.png", one, "LA")
    # Grey, in a colour format.
    picture("c.png", one, "RGB")
    assert load(photos).shape == (1, 32, 32)
    assert all(np.array_equal(pixels(load(photos), n), one) for n in range(3))
    picture("d.png", colour())
    dataset = load(photos)
    assert dataset.shape == (3, 32, 32)
    assert np.array_equal(pixels(dataset, 1)[:, :, 1], one)


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(28, 28)] * 3, 28),
        ([(128, 128)] * 3, 128),
        ([(129, 129)] * 3, 128),
        ([(28, 30)] * 3, 32),
        ([(40, 300), (64, 64), (70, 64)], 64),
        ([(63, 100)] * 3, 32),
        ([(100, 127), (200, 300), (500, 128)], 128),
    ],
    ids=str,
)
def test_side(picture, photos, sizes, side):
    for number, size in enumerate(sizes):
        picture(f"{number}.png", grey(*size))
    assert load(photos).shape == (1, side, side)
    assert load(photos, size=16).shape == (1, 16, 16)


def test_the_middle_is_cut_out(picture, photos):
    wide = np.zeros((32, 96), np.uint8)
    wide[:, 32:64] = 200
    picture("wide.png", wide)
    picture("high.png", wide.T)
    picture("large.png", wide.repeat(3, 0).repeat(3, 1))
    dataset = load(photos, size=32)
    for number in range(3):
        # Downscaling blends pixels at edges, and rounds.
        assert pixels(dataset, number)[1:-1, 1:-1].min() >= 199


def test_a_large_jpeg_is_made_smaller_well(picture, photos):
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)[None].repeat(1024, 0)
    picture("a.jpg", ramp, quality=95)
    picture("b.png", ramp)
    dataset = load(photos, size=32)
    wanted = ramp[0].reshape(32, 32).mean(1)
    for number in range(2):
        assert np.abs(pixels(dataset, number) - wanted)[:, 1:-1].max() < 3


def test_exif_turns_the_image(picture, photos):
    upright = np.zeros((32, 32), np.uint8)
    upright[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # Rotate by 90 degrees clockwise.
    picture("a.png", np.rot90(upright), exif=exif)
    picture("b.png", upright)
    dataset = load(photos)
    assert torch.equal(dataset.stored[0], dataset.stored[1])


def test_transparent_is_white(picture, photos):
    rgba = np.dstack([colour(), np.full((32, 32), 255, np.uint8)])
    rgba[:16, :, 3] = 0
    rgba[16:20, :, 3] = 128
    picture("a.png", rgba)
    picture("b.png", Image.fromarray(rgba).quantize(64))
    image = pixels(load(photos)).astype(int)
    assert (image[:16] == 255).all()
    assert np.abs(image[16:20] - (rgba[16:20, :, :3].astype(int) + 255) / 2).max() <= 2
    assert np.array_equal(image[20:], rgba[20:, :, :3])
    assert (pixels(load(photos), 1)[:16] > 250).all()


def test_palette(picture, photos):
    picture("a.png", Image.fromarray(colour()).quantize(16))
    picture("b.gif", Image.fromarray(colour()).quantize(16))
    dataset = load(photos)
    with Image.open(f"{photos}/a.png") as image:
        assert np.array_equal(pixels(dataset), np.asarray(image.convert("RGB")))
    assert len(np.unique(pixels(dataset, 1).reshape(-1, 3), axis=0)) <= 16


def test_one_bit(picture, photos):
    picture("a.png", Image.fromarray(grey() // 128 * 255).convert("1", dither=Image.Dither.NONE))
    picture("b.pbm", Image.fromarray(grey() // 128 * 255).convert("1", dither=Image.Dither.NONE))
    assert load(photos).stored.unique().tolist() == [0, 255]


def test_cmyk(picture, photos):
    inks = np.zeros((32, 32, 4), np.uint8)
    inks[:16, :, 0] = 255  # Cyan, with white below it.
    for name in ("a.tif", "b.jpg"):
        picture(name, Image.fromarray(inks, "CMYK"))
    dataset = load(photos)
    for number in range(2):
        assert np.abs(pixels(dataset, number)[:15].astype(int) - (0, 255, 255)).max() < 8
        assert (pixels(dataset, number)[17:] > 247).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits(picture, photos, name):
    values = RNG.integers(0, 65536, (32, 32), np.uint16)
    values[0, :2] = 0, 65535
    picture(name, values)
    picture("z.png", grey())
    wanted = np.round(values / 257)
    assert np.array_equal(pixels(load(photos)), wanted)


def test_what_cannot_be_brought_to_bytes_is_skipped(picture, photos):
    picture("float.tif", RNG.random((32, 32)).astype(np.float32))
    picture("wide.tif", np.full((32, 32), 70_000, np.int32))
    for name in ("a.png", "b.png"):
        picture(name, grey())
    dataset = load(photos)
    assert len(dataset) == 2
    assert dataset.skipped == (
        "float.tif: floating-point pixels; expected 8 or 16 bits: save it in a .npy file",
        "wide.tif: values from 70000 to 70000; expected 8 or 16 bits: save it in a .npy file",
    )


def test_damaged_files_are_listed_and_left_out(picture, photos):
    whole = {name: colour() for name in ("a.png", "e.png")}
    for name, part in whole.items():
        picture(name, part)
    jpeg = picture("b.jpg", colour(300, 300))
    jpeg.write_bytes(jpeg.read_bytes()[:5000])
    png = picture("c.png", colour())
    png.write_bytes(png.read_bytes()[:1000])
    picture("d.webp", colour()).write_bytes(b"")
    text = picture("é.jpeg", colour())
    text.write_bytes(b"<html>404</html>")
    os.symlink("nowhere", f"{photos}/link.png")
    picture("notes.png", colour()).rename(f"{photos}/notes.txt")
    picture(".hidden.png", colour())
    picture(".hidden/x.png", colour())
    dataset = load(photos)
    assert [np.array_equal(pixels(dataset, n), part) for n, part in enumerate(whole.values())] == [True, True]
    assert sorted(line.split(":")[0] for line in dataset.skipped[:-1]) == [
        "b.jpg",
        "c.png",
        "d.webp",
        "link.png",
        "é.jpeg",
    ]
    assert dataset.skipped[-1] == "1 file without an image suffix"
    assert all(len(line.splitlines()) == 1 and ": " in line for line in dataset.skipped[:-1])


def test_other_programs_are_never_started(picture, photos, tmp_path):
    # Pillow would hand PostScript to Ghostscript, whatever the file's name is.
    content = io.BytesIO()
    Image.fromarray(colour()).save(content, "EPS")
    picture("a.png", colour()).write_bytes(content.getvalue())
    for name in ("b.png", "c.png"):
        picture(name, colour())
    assert load(photos).skipped[0].startswith("a.png: cannot identify image file")


def test_names_that_are_no_text(picture, photos):
    for name in ("a.png", "b.png", os.fsdecode(b"\xff.png")):
        picture(name, grey())
    picture("bad.png", grey()).rename(f"{photos}/{os.fsdecode(b'bad-')}\udcfe.png")
    (bad,) = [name for name in os.listdir(photos) if name.startswith("bad")]
    with open(f"{photos}/{bad}", "wb"):
        pass
    dataset = load(photos)
    assert len(dataset) == 3
    assert dataset.skipped[0].encode().startswith(rb"bad-\xfe.png: ")


def test_folders_without_samples(picture, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"empty holds 0 files and no image; expected two or more images that end in .png"
    ):
        load(str(tmp_path / "empty"))
    picture("notes.png", grey()).rename(f"{photos}/notes.txt")
    with pytest.raises(ValueError, match="photos holds 1 file and no image"):
        load(photos)
    picture("a.png", grey()).write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"holds 1 image, and none can be read \(the first is a.png: cannot identify"):
        load(photos)
    picture("b.png", grey())
    with pytest.raises(ValueError, match="photos holds one sample; expected two or more"):
        load(photos)


def test_blank_images(picture, photos):
    for name in ("a.png", "b.png"):
        picture(name, np.full((32, 32), 9, np.uint8))
    with pytest.raises(ValueError, match="photos holds only the value 9; expected samples that differ"):
        load(photos)


def test_a_folder_that_cannot_be_read(picture, photos, monkeypatch):
    inner = picture("a/b.png", grey()).parent
    scandir = os.scandir

    def locked(path):
        if str(path) == str(inner):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # Root, as which tests may run, can read every folder.
    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(ValueError, match=r"a cannot be read \(Permission denied\)"):
        load(photos)


@pytest.fixture
def mapped(monkeypatch, tmp_path):
    """More than 20 000 bytes are memory-mapped, from a cache of this test's own."""
    monkeypatch.setattr(images, "MAPPED_BYTES", 20_000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gpgan"


def test_many_pixels_are_mapped_and_decoded_once(picture, photos, mapped, monkeypatch):
    parts = {f"{folder}/{number}.png": grey() for folder in "ab" for number in range(12)}
    for name, part in parts.items():
        picture(name, part)
    # Decoded as colour because of the truncated image.
    damaged = picture("a/z.png", colour())
    damaged.write_bytes(damaged.read_bytes()[:1500])
    first = load(photos)
    assert (first.shape, len(list(mapped.glob("*.u8")))) == ((1, 32, 32), 1)
    assert [pixels(first, n).tolist() for n in range(24)] == [part.tolist() for _, part in sorted(parts.items())]

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(images, "_decode_all", refuse)
    again = load(photos)
    assert again.fingerprint() == first.fingerprint()
    assert (again.labels.tolist(), again.classes, again.skipped) == ([0] * 12 + [1] * 12, ("a", "b"), first.skipped)
    assert first.skipped[0].startswith("a/z.png: ")
    monkeypatch.undo()
    monkeypatch.setattr(images, "MAPPED_BYTES", 20_000)
    # In memory the result is the same, and a changed file is decoded again.
    in_memory = load(photos, size=None)
    assert in_memory.fingerprint() == first.fingerprint()
    changed = picture("a/0.png", grey())
    os.utime(changed, ns=(0, 0))
    assert load(photos).fingerprint() != first.fingerprint()


def test_few_pixels_leave_nothing_in_the_cache(picture, photos, mapped):
    for name in ("a.png", "b.png"):
        picture(name, grey())
    assert len(load(photos)) == 2
    assert not mapped.exists()


def test_many_pixels_and_no_room_for_them(picture, photos, mapped):
    for number in range(24):
        picture(f"{number}.png", grey())
    mapped.parent.mkdir()
    mapped.write_bytes(b"a file where the folder should be")
    with pytest.raises(ValueError, match=r"which does not fit into .*cache/gpgan .* set XDG_CACHE_HOME"):
        load(photos)
    mapped.unlink()

    class Full(cache.Rows):
        def append(self, row):
            raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "Rows", Full)
        with pytest.raises(ValueError, match=r"No space left on device.*free some space"):
            load(photos)
    assert list(mapped.iterdir()) == []
    assert len(load(photos)) == 24
