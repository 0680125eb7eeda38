"""A folder of images."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from gpgan.data import cache
from gpgan.data.arrays import Array, classes_of, limits
from gpgan.data.dataset import Dataset
from gpgan.data.kinds import KINDS_BY_NAME
from gpgan.data.paths import Progress, files_under, name_of, skipped_line
from gpgan.util.errors import first_line

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


def load_images(path: Path, size: int | None = None, progress: Progress | None = None) -> Dataset:
    """The images in a folder and all folders under it, in the order of their paths, as uint8 ``[C, size, size]``.

    They are rotated as their EXIF says, composited on white if transparent, resized so that the shorter side fits, and
    cropped to the central square. C is 1 if all images are grey, otherwise 3. Bytes are scaled to [-1, 1]. If every
    image is in a sub-folder, and there are two or more of those, the first folder on its path is its label.

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
            f"{path} holds {len(files)} files and no image; expected two or more images that end in {', '.join(suffixes)}"
        )
    # Everything that determines the pixels and can be known without reading them.
    key = cache.key("images", [(name, *_stamp(path / name)) for name in names], size, PIL.__version__)
    found = cache.read(key)
    pixels, facts = _decode_all(path, names, size, progress, key) if found is None else found
    if facts["grey"]:
        pixels = pixels[:, :1]
    limits(pixels, f"{path} holds")

    labels: torch.Tensor | None = None
    classes: tuple[str, ...] = ()
    if all("/" in name for name in facts["names"]):
        folders = np.array([name.split("/")[0] for name in facts["names"]])
        labels, classes = classes_of(folders, len(folders), f"{path} holds")
    skipped = list(facts["skipped"])
    if len(files) > len(names):
        skipped.append(f"{len(files) - len(names)} files without an image suffix")
    return Dataset(
        name_of(path), torch.from_numpy(pixels), 127.5, 127.5, labels=labels, classes=classes, skipped=tuple(skipped)
    )


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        stat = file.stat()
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns


def _decode_all(
    path: Path, names: list[str], size: int | None, progress: Progress | None, key: str
) -> tuple[Array, dict[str, Any]]:
    """uint8 ``[N, C, size, size]``; and the names of the images read, what was skipped, and whether all are grey."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done // 2, len(names))  # a file counts half with its header, half with its pixels

    facts: dict[str, Any] = {"names": [], "skipped": [], "grey": True}
    with ThreadPoolExecutor() as pool:
        headers = []
        for name, header in _in_order(pool, lambda name: _header(path / name), names):
            step()
            if isinstance(header, str):
                facts["skipped"].append(skipped_line(name, header))
            else:
                headers.append((name, *header))
        done = 2 * len(names) - len(headers)
        side = size or _side([shape for _, _, shape in headers])
        channels = 1 if all(grey for _, grey, _ in headers) else 3

        def rows() -> Iterator[Array]:
            readable = [name for name, _, _ in headers]
            for name, image in _in_order(pool, lambda name: _decode(path / name, side, channels), readable):
                step()
                if isinstance(image, str):
                    facts["skipped"].append(skipped_line(name, image))
                    continue
                facts["names"].append(name)
                facts["grey"] = facts["grey"] and all(np.array_equal(image[0], other) for other in image[1:])
                yield image
            if not facts["names"]:
                raise ValueError(
                    f"{path} holds {len(names)} images, and none can be read (the first is {facts['skipped'][0]}); "
                    "expected two or more that can"
                )

        if len(headers) * channels * side**2 <= MAPPED_BYTES:
            return np.stack(list(rows())), facts
        try:
            with cache.writing(key, facts) as kept:
                for row in rows():
                    kept.append(row)
        except OSError as error:
            raise ValueError(
                f"{path} decodes to {len(headers) * channels * side**2 >> 20} MiB of pixels, which does not fit into "
                f"{cache.folder()} ({first_line(error)}); free some space, set XDG_CACHE_HOME to another folder, or choose a "
                "smaller size"
            ) from error
    found = cache.read(key)
    if found is None:
        raise ValueError(
            f"{path}: the decoded images cannot be read back from {cache.folder()}; set XDG_CACHE_HOME to another folder"
        )
    return found


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

    # Pillow may have been built without some of them.
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


def _header(file: Path) -> tuple[bool, tuple[int, int]]:
    """Whether an image's mode is grey, and its width and height."""
    with _open(file) as image:
        return image.mode in ("1", "L", "LA") or image.mode.startswith("I"), image.size


def _side(sizes: list[tuple[int, int]]) -> int:
    if not sizes:
        return SIZES[-1]
    first = sizes[0][0]
    if set(sizes) == {(first, first)} and first <= SIZES[0]:
        return first
    median = statistics.median(min(size) for size in sizes)
    return next((side for side in SIZES if side <= median), SIZES[-1])


def _decode(file: Path, side: int, channels: int) -> Array:
    """uint8 ``[channels, side, side]``."""
    from PIL import Image, ImageOps

    with _open(file) as opened:
        # A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size; twice the side leaves enough to resample from.
        opened.draft(None, (2 * side, 2 * side))
        image = _in_bytes(ImageOps.exif_transpose(opened))
        image = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def read_image(file: Path, channels: int) -> torch.Tensor:
    """One image in its own size as float32 ``[channels, H, W]`` in [-1, 1]: grey for one channel, RGB for three.

    Raises:
        ValueError, OSError: The file is not an image that can be read.
    """
    from PIL import Image, ImageOps

    Image.init()
    with _open(file) as opened:
        image = _in_bytes(ImageOps.exif_transpose(opened)).convert("L" if channels == 1 else "RGB")
    pixels = torch.from_numpy(np.array(image)).float().div(127.5).sub(1)
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1).contiguous()


def _in_bytes(image: Image.Image) -> Image.Image:
    """An image of mode L or RGB: composited on white if transparent, 16 bits rounded to 8."""
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(
                f"values from {values.min()} to {values.max()}; expected 8 or 16 bits: save it in a .npy file"
            )
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels; expected 8 or 16 bits: save it in a .npy file")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
