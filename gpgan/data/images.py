"""A folder of images."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from gpgan.data import cache
from gpgan.data.arrays import Array, classes_of, limits
from gpgan.data.dataset import Dataset
from gpgan.data.kinds import KINDS_BY_NAME
from gpgan.data.paths import Progress, files_under, name_of, part_note, skipped_line, test_folders
from gpgan.data.scaling import bounds
from gpgan.util.errors import first_line
from gpgan.util.words import counted, shown

if TYPE_CHECKING:
    from PIL import Image

In = TypeVar("In")
Out = TypeVar("Out")

# Formats that Pillow or a library decodes, so that no file can make it start another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
SIZES = (128, 64, 32)
# More bytes of pixels than this go into a memory-mapped file in the cache folder.
MAPPED_BYTES = 1 << 30
# This many files are handed to the threads at a time.
CHUNK = 256
# An image of more bytes than this must have a file of at least a hundredth of its bytes: a real one has.
UNPACKED_BYTES = 256 << 20
UNPACKED_TIMES = 100
# Formats whose further frames are images, not previews.
STACKS = ("TIFF", "GIF", "PNG", "WEBP", "AVIF")
# What the cache must know about the pixels.
FACTS = {"names", "skipped", "notes", "grey"}


@dataclass(frozen=True)
class _Header:
    """What an image's header says.

    Attributes:
        grey: Whether its mode has no colour.
        deep: Whether it has one channel of up to 16 bits.
        cut: Whether Pillow reads only the upper 8 of its 16 bits.
        several: Whether it has several pages or frames.
        size: Its width and height.
    """

    grey: bool
    deep: bool
    cut: bool
    several: bool
    size: tuple[int, int]


def load_images(path: Path, size: int | None = None, progress: Progress | None = None) -> Dataset:
    """The images in a folder and all folders under it, in the order of their paths, as ``[C, size, size]``.

    They are rotated as their EXIF says, composited on white if transparent, resized so that the shorter side fits, and
    cropped to the central square. C is 1 if all images are grey, otherwise 3. They are bytes, or uint16 if all images
    are grey and have more than 8 bits. If every image is in a sub-folder, and there are two or more of those, the first
    folder on its path is its label. Images in test folders are held out: see ``test_folders``.

    Args:
        path: The folder.
        size: None keeps the images' size if all are squares of one size of at most 128; otherwise it takes the largest
            of 128, 64 and 32 that is at most the median of the shorter sides, or 32 if none is.
        progress: Called with (files done, files in all); each file is read twice and counts half each time.

    Raises:
        ValueError: Fewer than two images can be read, all pixels are equal, or more than 1 GiB of them does not fit
            into the cache folder.
        ModuleNotFoundError: Pillow is not installed.
    """
    import PIL
    from PIL import Image

    Image.init()
    files = files_under(path)
    suffixes = KINDS_BY_NAME["images"].suffixes
    names = [name for name in files if name.lower().endswith(suffixes)]
    if not names:
        raise ValueError(
            f"{path} holds {counted(len(files), 'file')} and no image; expected two or more images that end in {', '.join(suffixes)}"
        )
    trained, held_out, labelled = test_folders(names)
    firsts = {label.partition("/")[0] if "/" in label else "" for label in labelled[: len(trained)]}
    without = 0
    if len(firsts) > 1 and "" not in firsts:
        # Where images to train on have labels, held-out ones that have none are of no use.
        has_label = ["/" in label for label in labelled[len(trained) :]]
        without = has_label.count(False)
        held_out = [name for name, has in zip(held_out, has_label, strict=True) if has]
        labelled = [label for label in labelled if "/" in label]
    names = trained + held_out
    found, key = None, ""
    # Two bytes for one channel are less than one byte for each of three.
    if len(names) * 3 * (size or SIZES[0]) ** 2 > MAPPED_BYTES:
        # Everything that determines the pixels and can be known without reading them all.
        with ThreadPoolExecutor() as pool:
            identities = list(pool.map(lambda name: cache.identity(path / name), names))
        key = cache.key("images", 2, path.resolve(), list(zip(names, identities, strict=True)), size, PIL.__version__)
        found = cache.read(key)
    if found is None or not found[1].keys() >= FACTS or len(found[1]["names"]) != len(found[0]):
        found = _decode_all(path, names, size, progress, key)
    pixels, facts = found
    mapped = getattr(pixels, "_mmap", None)
    if facts["grey"]:
        pixels = pixels[:, :1]

    labels: torch.Tensor | None = None
    classes: tuple[str, ...] = ()
    read = set(facts["names"])
    kept = [label for name, label in zip(names, labelled, strict=True) if name in read]
    if all("/" in name for name in kept):
        folders = np.array([name.split("/")[0] for name in kept])
        labels, classes = classes_of(folders, len(folders), f"{path} holds")
    skipped = list(facts["skipped"])
    if without:
        skipped.append(f"{counted(without, 'image')} in test folders without a class's folder, as training images have")
    if len(files) > len(names) + without:
        skipped.append(f"{counted(len(files) - len(names) - without, 'file')} without an image suffix")
    count = sum(name in read for name in trained)
    if count < 2 and skipped:
        raise ValueError(
            f"{path} holds {'one sample' if count else 'no samples'}{' to train on' * (len(held_out) > 0)}; expected two or "
            f"more; left out: {skipped[-1]}"
        )
    lows, highs = limits(pixels[:count], f"{path} holds")
    bottom, top = bounds(pixels.dtype, float(lows.min()), float(highs.max()))
    stored = torch.from_numpy(pixels)
    return Dataset(
        name_of(path),
        stored[:count],
        (top - bottom) / 2,
        (top + bottom) / 2,
        labels=None if labels is None else labels[:count],
        classes=classes,
        held_out=stored[count:].clone() if count < len(stored) else None,
        held_out_labels=labels[count:] if labels is not None and count < len(stored) else None,
        skipped=tuple(skipped),
        notes=(*facts["notes"], *part_note(names, held_out)),
        mapped=mapped,
    )


def _decode_all(
    path: Path, names: list[str], size: int | None, progress: Progress | None, key: str
) -> tuple[Array, dict[str, Any]]:
    """``[N, C, size, size]``; and the names of the images read, what was skipped, notes, and whether all are grey."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done // 2, len(names))  # a file counts half with its header, half with its pixels

    facts: dict[str, Any] = {"names": [], "skipped": [], "notes": [], "grey": True}
    largest = 0
    with ThreadPoolExecutor() as pool:
        headers: dict[str, _Header] = {}
        for name, header in _in_order(pool, lambda name: _header(path / name), names):
            step()
            if isinstance(header, str):
                facts["skipped"].append(skipped_line(name, header))
            else:
                headers[name] = header
        done = 2 * len(names) - len(headers)
        side = size or _side([header.size for header in headers.values()])
        channels = 1 if all(header.grey for header in headers.values()) else 3
        deep = all(header.deep for header in headers.values())
        bytes_each = channels * side**2 * (2 if deep else 1)

        def rows() -> Iterator[Array]:
            nonlocal largest
            for name, image in _in_order(pool, lambda name: _decode(path / name, side, channels, deep), [*headers]):
                step()
                if isinstance(image, str):
                    facts["skipped"].append(skipped_line(name, image))
                    continue
                pixels, top = image
                facts["names"].append(name)
                facts["grey"] = facts["grey"] and all(np.array_equal(pixels[0], other) for other in pixels[1:])
                largest = max(largest, top)
                yield pixels
            if not facts["names"]:
                raise ValueError(
                    f"{path} holds {counted(len(names), 'image')}, and none can be read (the first is {facts['skipped'][0]}); "
                    "expected two or more that can"
                )
            _tell({name: headers[name] for name in facts["names"]}, side, largest, facts)

        if len(headers) * bytes_each <= MAPPED_BYTES:
            return np.stack(list(rows())), facts
        try:
            with cache.writing(key, facts) as kept:
                for row in rows():
                    kept.append(row)
        except OSError as error:
            raise ValueError(
                f"{path} decodes to {len(headers) * bytes_each >> 20} MiB of pixels, which does not fit into "
                f"{cache.folder()} ({first_line(error)}); free some space, set XDG_CACHE_HOME to another folder, or choose a "
                "smaller size"
            ) from error
    found = cache.read(key)
    if found is None:
        raise ValueError(
            f"{path}: the decoded images cannot be read back from {cache.folder()}; set XDG_CACHE_HOME to another folder"
        )
    return found


def _tell(headers: dict[str, _Header], side: int, largest: int, facts: dict[str, Any]) -> None:
    """Adds to the facts what the pixels of the images that were read do not show.

    Args:
        headers: Of these images, by name.
        side: Of the squares, in pixels.
        largest: The largest value of an image with 16 bits.
        facts: Of which "skipped" and "notes" are added to.
    """

    def tell(to: str, is_one: Callable[[_Header], bool], what: str) -> None:
        names = [name for name, header in headers.items() if is_one(header)]
        if names:
            width, height = headers[names[0]].size
            line = f"{what}: {len(names)} of {len(headers)} images, e.g. {names[0]} ({width} x {height} pixels)"
            facts[to].append(shown(line))

    pages = "all pages or frames but the first (save each in a file of its own)"
    tell("skipped", lambda header: header.several, pages)
    tell("notes", lambda header: 2 * min(header.size) < side, f"enlarged more than twofold, to a side of {side}")
    tell("notes", lambda header: max(header.size) > 4 * min(header.size), "cropped to less than a quarter")
    tell("notes", lambda header: header.cut, "channels of 16 bits, of which only the upper 8 are read")
    if not all(header.deep for header in headers.values()):
        rounded = f"16 bits (of 0 to 65535 they use up to {largest}) rounded to 8, as others have no more"
        tell("notes", lambda header: header.deep, rounded)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[In], Out], items: Sequence[In]
) -> Iterator[tuple[In, Out | str]]:
    """Each item with its result, or with its error message."""

    def guarded(item: In) -> Out | str:
        try:
            return function(item)
        except Exception as error:  # A damaged file can raise anything that a parser raises.
            return first_line(error)

    for first in range(0, len(items), CHUNK):
        chunk = items[first : first + CHUNK]
        yield from zip(chunk, pool.map(guarded, chunk), strict=True)


def _open(file: Path) -> Image.Image:
    from PIL import Image

    # Opening a FIFO waits for ever.
    if file.exists() and not file.is_file():
        raise ValueError("it is not a regular file; expected an image")
    # Pillow may have been built without some of them.
    image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    size = image.width * image.height * {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}.get(image.mode, 4)
    stored = file.stat().st_size
    if size > UNPACKED_BYTES and size > UNPACKED_TIMES * stored:
        image.close()
        raise ValueError(
            f"{image.width} x {image.height} pixels, {size >> 20} MiB, in a file of {stored >> 10} KiB; expected at most "
            f"{UNPACKED_TIMES} times the file's size: scale it down"
        )
    return image


def _header(file: Path) -> _Header:
    with _open(file) as image:
        deep = image.mode.startswith("I")
        return _Header(
            grey=deep or image.mode in ("1", "L", "LA"),
            deep=deep,
            cut=not deep and ";16" in str(getattr(image, "tile", "")),
            several=image.format in STACKS and getattr(image, "is_animated", False),
            size=image.size,
        )


def _side(sizes: list[tuple[int, int]]) -> int:
    if not sizes:
        return SIZES[-1]
    first = sizes[0][0]
    if set(sizes) == {(first, first)} and first <= SIZES[0]:
        return first
    median = statistics.median(min(size) for size in sizes)
    return next((side for side in SIZES if side <= median), SIZES[-1])


def _decode(file: Path, side: int, channels: int, deep: bool) -> tuple[Array, int]:
    """``[channels, side, side]``, uint16 if ``deep`` and else uint8; and its largest value before it became bytes."""
    from PIL import Image, ImageOps

    with _open(file) as opened:
        # A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size; twice the side leaves enough to resample from.
        opened.draft(None, (2 * side, 2 * side))
        image = ImageOps.exif_transpose(opened)
        values = _sixteen_bits(image) if image.mode.startswith("I") else None
        top = 0 if values is None else int(values.max())
        # Pillow resamples floats, but not 16 bits, without rounding.
        image = Image.fromarray(values.astype(np.float32)) if deep and values is not None else _in_bytes(image)
        image = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
        if deep and values is not None:
            return np.asarray(image).clip(values.min(), top).round().astype(np.uint16)[None], top
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1), top


def read_image(file: Path, channels: int, scale: float = 127.5, offset: float = 127.5) -> torch.Tensor:
    """One image in its own size as float32 ``[channels, H, W]`` for a network: grey, RGB or RGBA.

    Pixels are scaled as the data of the network if they are of as many bits and within its range; otherwise all values
    that so many bits can have become [-1, 1].

    Args:
        file: Of one of ``FORMATS``.
        channels: 1, 3 or 4.
        scale: Of the network's data: original = sample * scale + offset.
        offset: See scale.

    Raises:
        ValueError, OSError: The file is not an image that can be read, or there is no such number of channels.
    """
    from PIL import Image, ImageOps

    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels not in modes:
        raise ValueError(f"the network takes {channels} channels, and an image file has 1, 3 or 4")
    Image.init()
    with _open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if deep := channels == 1 and image.mode.startswith("I"):
            values = _sixteen_bits(image)
        else:
            image = image.convert("RGBA") if channels == 4 and not image.mode.startswith("I") else _in_bytes(image)
            values = np.array(image.convert(modes[channels]))
    low, high = offset - scale, offset + scale
    if deep != (high > 255) or values.min() < low or values.max() > high:
        scale = offset = 65535 / 2 if deep else 127.5
    pixels = torch.from_numpy(values.astype(np.float32)).sub(offset).div(scale)
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1).contiguous()


def _sixteen_bits(image: Image.Image) -> Array:
    """The values of an image of mode I or I;16."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"values from {values.min()} to {values.max()}; expected 8 or 16 bits: save it in a .npy file")
    return values


def _in_bytes(image: Image.Image) -> Image.Image:
    """An image of mode L or RGB: composited on white if transparent, 16 bits rounded to 8."""
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray(((_sixteen_bits(image) + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels; expected 8 or 16 bits: save it in a .npy file")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
