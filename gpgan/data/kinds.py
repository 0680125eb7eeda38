"""The kinds of data. One row says everything that the rest of gpgan needs to know about a kind.

To add a kind: a file with its layout, its picture and, if it has a file format of its own, the loader; and a row here.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

if TYPE_CHECKING:
    from gpgan.data.dataset import Dataset
    from gpgan.data.paths import Progress

Shape = tuple[int, ...]

# More entries than this along the second axis of an array are not channels.
CHANNELS_MAX = 16
# An array [N, C, T] holds signals if T / C is at least this, and images of one channel otherwise.
SIGNAL_RATIO = 8
# A sample of at most this many numbers, 3 x 8 x 8, is small: in equal time an MLP learns more than convolutions do.
SMALL = 192


@dataclass(frozen=True)
class Kind:
    """One kind of data. Functions are given as "module:function", so that nothing is imported before it is used.

    Attributes:
        name: In the plural, as users see it.
        axes: The axes of one sample, e.g. ``("C", "H", "W")``.
        arrays: The shapes of arrays that hold such samples, for error messages.
        layout: From the shape ``[N, ...]`` of an array to the shape ``[N, *axes]`` it is stored in; None if the array
            does not hold this kind.
        picture: Draws samples: (path, samples ``[n, *axes]``, real samples or None, critic or None, title).
        pictured: The number of samples in a picture.
        network: From the shape of a sample to the default of ``--network.kind``.
        animated: Whether the snapshots of a run are worth an animation.
        suffixes: Its file name suffixes, in lower case.
        loader: Reads these files: (path, size or None, progress or None).
        single: Whether the loader also takes a single file, not only a folder.
    """

    name: str
    axes: tuple[str, ...]
    arrays: str
    layout: Callable[[Shape], Shape | None]
    picture: str
    pictured: int
    network: Callable[[Shape], Literal["mlp", "conv"]]
    animated: bool = False
    suffixes: tuple[str, ...] = ()
    loader: str = ""
    single: bool = False

    def load(self, path: Path, size: int | None, progress: Progress | None) -> Dataset:
        dataset: Dataset = _function(self.loader)(path, size, progress)
        return dataset

    def draw(
        self,
        path: Path,
        samples: Tensor,
        reals: Tensor | None = None,
        critic: nn.Module | None = None,
        title: str = "",
    ) -> None:
        """Writes a picture (.png) of samples ``[n, *axes]``.

        Args:
            path: The file.
            samples: Scaled, as networks see them.
            reals: Real samples, drawn together with points; pass ``samples`` itself if these are real. Others ignore
                it.
            critic: Its contour lines are drawn under points in the plane. Others ignore it.
            title: Shown if the picture has axes.
        """
        _function(self.picture)(path, samples, reals, critic, title)


def _function(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _conv_unless_small(shape: Shape) -> Literal["mlp", "conv"]:
    return "conv" if math.prod(shape) > SMALL else "mlp"


def _points(shape: Shape) -> Shape | None:
    return shape if len(shape) == 2 else None


def _signals(shape: Shape) -> Shape | None:
    is_signal = len(shape) == 3 and shape[1] <= CHANNELS_MAX and shape[2] >= SIGNAL_RATIO * shape[1]
    return shape if is_signal else None


def _images(shape: Shape) -> Shape | None:
    if len(shape) == 3:
        return shape[0], 1, *shape[1:]
    return shape if len(shape) == 4 and shape[1] <= CHANNELS_MAX else None


def _volumes(shape: Shape) -> Shape | None:
    if len(shape) == 4:
        return shape[0], 1, *shape[1:]
    return shape if len(shape) == 5 and shape[1] <= CHANNELS_MAX else None


# An array is of the first kind whose layout accepts it, a folder of the last kind whose files it holds.
KINDS = (
    Kind(
        name="points",
        axes=("D",),
        arrays="points [N, D]",
        layout=_points,
        picture="gpgan.data.drawing:point_scatter",
        pictured=2500,
        network=lambda shape: "mlp",
        animated=True,
    ),
    Kind(
        name="signals",
        axes=("C", "T"),
        arrays=f"signals [N, C, T] with T at least {SIGNAL_RATIO} C",
        layout=_signals,
        picture="gpgan.data.drawing:signal_grid",
        pictured=16,
        network=_conv_unless_small,
    ),
    Kind(
        name="images",
        axes=("C", "H", "W"),
        arrays="images [N, H, W] or [N, C, H, W]",
        layout=_images,
        picture="gpgan.data.drawing:image_grid",
        pictured=100,
        network=_conv_unless_small,
        suffixes=(
            *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
            *(".ppm", ".pgm", ".pbm", ".jp2", ".avif"),
        ),
        loader="gpgan.data.images:load_images",
    ),
    Kind(
        name="volumes",
        axes=("C", "D", "H", "W"),
        arrays="volumes [N, D, H, W] or [N, C, D, H, W]",
        layout=_volumes,
        picture="gpgan.data.drawing:volume_grid",
        pictured=16,
        network=_conv_unless_small,
        suffixes=(".mrc", ".mrcs", ".map", ".star"),
        loader="gpgan.data.volumes:load_mrc",
        single=True,
    ),
)
KINDS_BY_NAME = {kind.name: kind for kind in KINDS}
ARRAYS = ", ".join(kind.arrays for kind in KINDS[:-1]) + f", or {KINDS[-1].arrays}"


def kind_of(shape: Sequence[int]) -> Kind:
    """The kind of data whose samples have this shape; the number of axes decides.

    Raises:
        ValueError: There is no such kind.
    """
    for kind in KINDS:
        if len(kind.axes) == len(shape):
            return kind
    named = ", ".join(f"{kind.name} [{', '.join(kind.axes)}]" for kind in KINDS)
    raise ValueError(f"a sample has shape {tuple(shape)}; expected one of {named}")


def stored_shape(shape: Shape) -> Shape | None:
    """From the shape of an array to the shape it is stored in; None if it fits no kind of data."""
    return next((stored for kind in KINDS if (stored := kind.layout(shape)) is not None), None)


def kind_of_file(path: Path) -> Kind | None:
    """The kind of data in a single file, by its suffix; None if no kind claims it."""
    return next((kind for kind in KINDS if kind.single and path.suffix.lower() in kind.suffixes), None)


def kind_of_folder(names: Sequence[str]) -> Kind:
    """The kind of data in a folder with files of these names; images if no kind claims any of them."""
    for kind in reversed(KINDS):
        if any(name.lower().endswith(kind.suffixes) for name in names if kind.suffixes):
            return kind
    return KINDS_BY_NAME["images"]
