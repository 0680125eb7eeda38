"""The images of a run, a folder or an array, as bytes of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpgan.data import Dataset, load
from gpgan.data.paths import Progress
from gpgan.records import checkpoint
from gpgan.training.saved import Saved, open_run
from gpgan.util.words import counted

# What is black and white in most images, and how far samples may overshoot; they are clipped.
USUAL = ((0.0, 1.0, 0.05), (-1.0, 1.0, 0.1), (0.0, 255.0, 12.0), (0.0, 65535.0, 0.0))
# Values that use less of 0 to 255 or 16 bits than this are taken to have another range, such as 0 to 16.
USED = 1 / 3


@dataclass(frozen=True)
class Drawn:
    """Images with the values of their data.

    Attributes:
        name: What they are, e.g. "runs/clothes at step 4000".
        values: float32 ``[n, C, H, W]``, C 1 or 3.
        low: The smallest value of the data.
        high: The largest.
        notes: What should be known about how they were read, one line per item.
    """

    name: str
    values: Tensor
    low: float
    high: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Images:
    """Images to show.

    Attributes:
        name: What they are.
        pixels: uint8 ``[n, C, H, W]``, C 1 or 3.
    """

    name: str
    pixels: np.ndarray[Any, Any]


def is_run(source: str) -> bool:
    """Whether a path is a run's folder, not a folder of images."""
    folder = Path(source)
    return folder.is_dir() and ((folder / checkpoint.FOLDER).is_dir() or (folder / "config.json").is_file())


def draw(
    what: str, source: str, count: int, seed: int, *, size: int | None, trust_code: bool, progress: Progress
) -> Drawn:
    """``count`` images of a run, or of data by name or path.

    The same seed draws the same rows from data of equal length: two methods' outputs for the same inputs stay pairs.

    Args:
        what: Begins the error messages: "A", "B" or "real".
        source: A run's folder, or what ``gpgan.data.load`` takes.
        count: The number of images.
        seed: Of a run's samples and of the choice of rows.
        size: The side in pixels of a folder's images; None as in ``load``.
        trust_code: Whether to import the code that a run names.
        progress: Called with (files done, files in all).

    Raises:
        ValueError: They cannot be read, are not images of one or three channels, or are fewer than ``count``.
    """
    if is_run(source):
        return draw_run(what, open_run(Path(source), trust_code), count, seed)
    data = load(source, size=size if Path(source).is_dir() else None, progress=progress)
    return draw_data(what, source, data, count, seed)


def draw_run(what: str, saved: Saved, count: int, seed: int) -> Drawn:
    """``count`` samples of a run; arguments and errors as for ``draw``."""
    facts = saved.facts
    _check_images(what, str(saved.run), facts.shape)
    _, samples = saved.task.sample(count, torch.Generator().manual_seed(seed), saved.dataset, None)
    if len(samples) < count:
        raise _too_few(what, str(saved.run), len(samples), count)
    problems = tuple(f"{problem}; an older checkpoint is used" for problem in saved.problems)
    name = f"{saved.run} at step {saved.state['step']}"
    return _drawn(what, name, saved.original(samples), facts.scale, facts.offset, problems)


def draw_data(what: str, name: str, data: Dataset, count: int, seed: int) -> Drawn:
    """``count`` images of a data set; arguments and errors as for ``draw``."""
    _check_images(what, name, data.shape)
    if len(data) < count:
        raise _too_few(what, name, len(data), count)
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:count]
    values = data.samples(chosen) * data.scale + data.offset
    return _drawn(what, name, values, data.scale, data.offset, data.skipped)


def match(*every: Drawn) -> tuple[list[Images], list[str]]:
    """Images with one meaning of black and white, one size and one number of channels, and what was done for it.

    Values of the usual ranges, 0 to 1, -1 to 1, 0 to 255 and 16 bits, become bytes by that range. Values of another range
    are shown on the scale of the others if that holds them, and if none has a usual range, on one that holds all. Grey
    images become RGB beside RGB ones. Smaller images are enlarged by repeating their pixels, if a whole number of times
    gives the size of the largest.

    Raises:
        ValueError: There is no such scale, or the sizes do not divide.
    """
    notes = [note for each in every for note in each.notes]
    ranges = _ranges(every, notes)
    sets = [Images(each.name, _bytes(each.values, *ends)) for each, ends in zip(every, ranges, strict=True)]
    return _match_sizes(sets, notes), notes


def _ranges(every: Sequence[Drawn], notes: list[str]) -> list[tuple[float, float]]:
    """What becomes black and white in each set; adds to the notes what is not obvious."""
    found = [_usual(each) for each in every]
    usual = {ends for ends in found if ends}
    whole = (min(each.low for each in every), max(each.high for each in every))
    if not usual:
        notes.append(f"values from {whole[0]:g} to {whole[1]:g} are shown as black to white")
        return [whole] * len(every)
    ranges = []
    for each, ends in zip(every, found, strict=True):
        if ends is None:
            ends = next(iter(usual))
            if len(usual) > 1 or not ends[0] <= each.low <= each.high <= ends[1]:
                sets = ", ".join(f"{one.name} {one.low:g} to {one.high:g}" for one in every)
                raise ValueError(f"the images differ in their range of values: {sets}; expected the same range")
            notes.append(
                f"{each.name}: values from {each.low:g} to {each.high:g} are shown on the scale of the others, {ends[0]:g} "
                f"to {ends[1]:g}"
            )
        ranges.append(ends)
    return ranges


def _match_sizes(every: Sequence[Images], notes: list[str]) -> list[Images]:
    """Images of one size and one number of channels; adds to the notes what was done for it."""
    height, width = max((each.pixels.shape[2:] for each in every), key=lambda size: size[0] * size[1])
    channels = max(each.pixels.shape[1] for each in every)
    matched = []
    for each in every:
        pixels = each.pixels
        times = height // pixels.shape[2]
        if (pixels.shape[2] * times, pixels.shape[3] * times) != (height, width):
            sizes = ", ".join(f"{one.name} {one.pixels.shape[3]} x {one.pixels.shape[2]}" for one in every)
            raise ValueError(
                f"the images differ in size: {sizes} pixels; expected one size, or whole multiples of the smallest: "
                "--size S reads a folder's images as S x S"
            )
        if times > 1:
            notes.append(f"{each.name}: enlarged {times} times, to {width} x {height}, by repeating pixels")
            pixels = pixels.repeat(times, axis=2).repeat(times, axis=3)
        if pixels.shape[1] < channels:
            notes.append(f"{each.name}: grey images, beside others in colour")
            pixels = pixels.repeat(channels, axis=1)
        matched.append(replace(each, pixels=pixels))
    return matched


def _check_images(what: str, name: str, shape: Sequence[int]) -> None:
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(
            f"{what} is {name!r}, with samples of shape {tuple(shape)}; expected images of 1 or 3 channels (C, H, W)"
        )


def _too_few(what: str, name: str, found: int, count: int) -> ValueError:
    return ValueError(
        f"{what} is {name!r}, with {counted(found, 'image')}; expected {count} or more, one per trial: -n or --attention "
        "asks for fewer"
    )


def _drawn(what: str, name: str, values: Tensor, scale: float, offset: float, notes: tuple[str, ...]) -> Drawn:
    if not values.isfinite().all():
        raise ValueError(f"{what} has samples with NaN or infinite values; expected finite ones")
    return Drawn(name, values, offset - abs(scale), offset + abs(scale), notes)


def _usual(drawn: Drawn) -> tuple[float, float] | None:
    """The usual range that holds the data's values, or None."""
    for black, white, room in USUAL:
        uses = white <= 1 or drawn.high - drawn.low >= USED * (white - black)
        if uses and black - room <= drawn.low and drawn.high <= white + room:
            return black, white
    return None


def _bytes(values: Tensor, black: float, white: float) -> np.ndarray[Any, Any]:
    """Values as bytes; rounded, not truncated."""
    shown = (values.double() - black) / (white - black) * 255
    return shown.round().clamp(0, 255).to(torch.uint8).numpy()
