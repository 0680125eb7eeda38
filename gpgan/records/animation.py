"""The snapshots of a run as an animated GIF."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from gpgan.records.pictures import snapshots
from gpgan.util.files import replacing

FRAMES, COLOURS = 60, 64
# Milliseconds that each frame is shown, and the last one.
FRAME, LAST = 120, 2000


def write_animation(run: Path) -> None:
    """Writes fakes.gif from the run's snapshots at half their size; nothing if there are none.

    It takes at most FRAMES snapshots, evenly spaced, with the first and the last one.
    """
    paths = [path for _, path in snapshots(run, FRAMES)]
    if not paths:
        return
    with Image.open(paths[-1]) as last:
        size = last.width // 2, last.height // 2
    frames = []
    for path in paths:
        with Image.open(path) as image:
            frames.append(image.convert("RGB").resize(size, Image.Resampling.BOX))
    # One palette for all frames: what does not move does not flicker, and costs no bytes in the file.
    together = Image.new("RGB", (size[0], len(frames) * size[1]))
    for index, frame in enumerate(frames):
        together.paste(frame, (0, index * size[1]))
    palette = together.quantize(COLOURS)
    still = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with replacing(run / "fakes.gif") as file:
        still[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=still[1:],
            duration=[FRAME] * (len(still) - 1) + [LAST],
            loop=0,
        )
