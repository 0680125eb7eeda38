"""Emoji, from the bitmaps of Google's font as Debian packages it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import torch

from gpgan.data import cache
from gpgan.data.arrays import Array
from gpgan.data.dataset import Dataset

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
SIZE = 32


def load_emoji() -> Dataset:
    """About 3900 distinct images ``[3, 32, 32]`` of emoji on white, bytes scaled to [-1, 1], in the font's order.

    They are decoded once and then cached in the user's cache folder, if that is writable.

    Raises:
        ValueError: The Debian package is not installed, or the font has no bitmaps.
        ModuleNotFoundError: fonttools or Pillow is not installed.

    Source:
        The Noto project, Noto Color Emoji.
    """
    import PIL

    if not FONT.is_file():
        raise ValueError(f"data is 'emoji' and {FONT} does not exist: apt-get install fonts-noto-color-emoji")
    content = FONT.read_bytes()
    name = cache.key("emoji", hashlib.sha256(content).hexdigest(), SIZE, "white, Lanczos", PIL.__version__)
    found = cache.read(name)
    if found is None:
        images = _decode(content)
        try:
            with cache.writing(name, {}) as rows:
                for image in images:
                    rows.append(image)
        except OSError:
            pass  # The next run decodes them again.
    else:
        images = found[0]
    return Dataset("emoji", torch.from_numpy(images), 127.5, 127.5)


def _decode(font: bytes) -> Array:
    """uint8 ``[N, 3, SIZE, SIZE]``: each glyph's bitmap centred on a white square, then downscaled."""
    from fontTools.ttLib import TTFont, TTLibError  # type: ignore[import-untyped,unused-ignore]
    from PIL import Image

    try:
        strikes = TTFont(io.BytesIO(font), lazy=True)["CBDT"].strikeData
    except (KeyError, TTLibError) as error:
        raise ValueError(f"{FONT} has no CBDT table of bitmaps; expected the font of fonts-noto-color-emoji") from error
    distinct: dict[bytes, Array] = {}
    # The first strike: the font has one size of bitmaps.
    for glyph in strikes[0].values():
        bitmap = Image.open(io.BytesIO(glyph.imageData)).convert("RGBA")
        side = max(bitmap.size)
        square = Image.new("RGBA", (side, side), "white")
        square.alpha_composite(bitmap, ((side - bitmap.width) // 2, (side - bitmap.height) // 2))
        small = np.asarray(square.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))
        distinct.setdefault(small.tobytes(), small.transpose(2, 0, 1))
    return np.stack(list(distinct.values()))
