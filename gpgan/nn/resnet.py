"""The residual networks of the WGAN-GP paper for square images: its 32x32 form up to that size, its 64x64 form above.

A block is shortcut(x) + conv(ReLU(conv(ReLU(x)))) with kernels of 3. In the critic, a halving block takes the mean
over 2x2 pixels after its second convolution; in the generator, a doubling block repeats each pixel before its first one.

    32x32       generator: linear to [width, base, base]; doubling blocks, all of width channels; BatchNorm, ReLU, conv, tanh
                critic: 4 blocks of width channels, the first 2 halve, the first has no ReLU before it; ReLU, mean over
                the pixels, linear
    64x64       generator: linear to [8 width, base, base]; doubling blocks down to width channels; the same end
                critic: conv to width channels; halving blocks, each with twice the channels, up to 8 width; linear from
                all remaining features, [8 width, base, base]

The base is 4, 5, 6 or 7 pixels: a side is halved as long as at least 4 remain, so a side is one of these numbers times a
power of two. A 32x32 critic halves at most down to the base: from 8 pixels once, with a plain block in place of the second
halving block.

The shortcut of a block that halves or doubles is a convolution with a kernel of 1. It commutes with the mean over 2x2
pixels and with repeating them, so it is always computed at the smaller size; the authors' code has both orders. This is
the same function for a quarter of the work.

The generator's convolutions have no biases: their output would be constant per channel, and the next BatchNorm on each
branch would remove it.

Source:
    Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, appendix; for the 64x64 form the authors'
    published code (GoodGenerator, GoodDiscriminator), whose critic has the norm "layer" and whose width is 64. The width
    of the 32x32 networks is 128.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gpgan.nn.batch_norm import SyncedBatchNorm
from gpgan.nn.conv import channels_of
from gpgan.nn.labels import Projection, join, score
from gpgan.nn.norms import biased, norms

# The smallest base, and the largest side of the 32x32 form.
SMALLEST = 4
LARGEST_SMALL = 32
# Blocks of the 32x32 critic, and how many of them halve at most.
BLOCKS, HALVING_BLOCKS = 4, 2
# Slopes of the activation before a layer, which initialise reads.
RELU, LINEAR = 0.0, 1.0


def halvings(shape: Sequence[int]) -> int:
    """How many times the side of images of this shape is halved to reach the base, 1 or more.

    Raises:
        ValueError: The images are not square, or their side is not 4, 5, 6 or 7 times 2, 4, 8, ...
    """
    came = f"network.kind is 'resnet' and samples have shape {tuple(shape)}"
    other = "'conv' or 'mlp'" if len(shape) >= 2 else "'mlp'"
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"{came}; expected square images [C, S, S], or kind {other}")
    side = shape[1]
    count = _count(side)
    if not count:
        below = next((s for s in range(side - 1, 0, -1) if _count(s)), 0)
        above = next(s for s in range(side + 1, 2 * side + 2 * SMALLEST + 1) if _count(s))
        near = f"sizes that can be halved are {below} or {above}" if below else f"size that can be halved is {above}"
        raise ValueError(
            f"{came}, whose side {side} is not 4, 5, 6 or 7 times 2, 4, 8, ...; the nearest "
            f"{near}. Resize the images, or use kind 'conv', which halves any size"
        )
    return count


def _count(side: int) -> int:
    """How many times a side can be halved without remainder to reach a base; 0: it cannot reach one."""
    count = max(0, (side // SMALLEST).bit_length() - 1)
    return count if side % 2**count == 0 else 0


def _conv(inputs: int, outputs: int, kernel: int = 3, slope: float = RELU, bias: bool = True) -> nn.Conv2d:
    conv: Any = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    conv.input_slope = slope
    return conv  # type: ignore[no-any-return]


def _linear(inputs: int, outputs: int, slope: float) -> nn.Linear:
    linear: Any = nn.Linear(inputs, outputs)
    linear.input_slope = slope
    return linear  # type: ignore[no-any-return]


def _projection(classes: int, features: int, slope: float) -> Projection:
    projection: Any = Projection(classes, features)
    projection.input_slope = slope
    return projection  # type: ignore[no-any-return]


class Block(nn.Module):
    """shortcut(x) + branch(x); an empty shortcut is x."""

    def __init__(self, branch: Sequence[nn.Module], shortcut: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.branch, self.shortcut = nn.Sequential(*branch), nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.shortcut(x) + self.branch(x)
        return total


def doubling(inputs: int, outputs: int) -> Block:
    """[B, inputs, S, S] to [B, outputs, 2 S, 2 S], with BatchNorm."""
    repeat = nn.Upsample(scale_factor=2)
    first = [SyncedBatchNorm(inputs), nn.ReLU(), repeat, _conv(inputs, outputs, bias=False)]
    second = [SyncedBatchNorm(outputs), nn.ReLU(), _conv(outputs, outputs, bias=False)]
    return Block([*first, *second], [_conv(inputs, outputs, 1, LINEAR, bias=False), repeat])


def halving(inputs: int, outputs: int, middle: int, norm: str, first: bool = False) -> Block:
    """[B, inputs, S, S] to [B, outputs, S / 2, S / 2], with ``middle`` channels in between.

    The first block of a critic starts from the image: its only activation is the ReLU between its convolutions, and it
    has no norm.
    """
    if first:
        branch = [_conv(inputs, middle, slope=LINEAR), nn.ReLU(), _conv(middle, outputs)]
    else:
        branch = _branch(inputs, outputs, middle, norm)
    return Block([*branch, nn.AvgPool2d(2)], [nn.AvgPool2d(2), _conv(inputs, outputs, 1, LINEAR)])


def plain(channels: int, norm: str) -> Block:
    """[B, channels, S, S] to the same shape."""
    return Block(_branch(channels, channels, channels, norm))


def _branch(inputs: int, outputs: int, middle: int, norm: str) -> list[nn.Module]:
    normed = norms(norm)
    first = [*normed(inputs), nn.ReLU(), _conv(inputs, middle, bias=biased(norm))]
    return [*first, *normed(middle), nn.ReLU(), _conv(middle, outputs)]


class ResNetGenerator(nn.Module):
    """Latents [B, latent], and with classes labels [B], to images [B, C, S, S] in [-1, 1].

    Raises:
        ValueError: As in ``halvings``.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int, classes: int = 0) -> None:
        super().__init__()
        count = halvings(shape)
        channels, side, _ = shape
        widths = [width] * (count + 1) if side <= LARGEST_SMALL else channels_of(width, count + 1)
        base = side >> count
        self.smallest = (widths[-1], base, base)
        self.embedding = nn.Embedding(classes, latent) if classes else None
        self.first = _linear(latent * (2 if classes else 1), widths[-1] * base**2, LINEAR)
        self.layers = nn.Sequential(
            *(doubling(widths[rung], widths[rung - 1]) for rung in range(count, 0, -1)),
            SyncedBatchNorm(widths[0]),
            nn.ReLU(),
            _conv(widths[0], channels),
            nn.Tanh(),
        )

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        first: Tensor = self.first(join(latents, self.embedding, labels))
        images: Tensor = self.layers(first.reshape(-1, *self.smallest))
        return images


class ResNetCritic(nn.Module):
    """Images [B, C, S, S], and with classes their labels [B], to scores [B].

    The norm comes before each ReLU within the blocks, except in the first block of the 32x32 form.

    Raises:
        ValueError: As in ``halvings``, or the norm is unknown.
    """

    def __init__(self, shape: Sequence[int], width: int, classes: int = 0, norm: str = "none") -> None:
        super().__init__()
        count = halvings(shape)
        channels, side, _ = shape
        layers: list[nn.Module]
        if side <= LARGEST_SMALL:
            features, before_last = width, RELU
            halved = min(count, HALVING_BLOCKS)
            layers = [halving(channels, width, width, norm, first=True)]
            layers += [halving(width, width, width, norm) for _ in range(halved - 1)]
            layers += [plain(width, norm) for _ in range(BLOCKS - halved)]
            layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        else:
            widths = channels_of(width, count + 1)
            features, before_last = widths[-1] * (side >> count) ** 2, LINEAR
            layers = [_conv(channels, width, slope=LINEAR)]
            layers += [halving(widths[rung], widths[rung + 1], widths[rung], norm) for rung in range(count)]
            layers += [nn.Flatten()]
        self.layers = nn.Sequential(*layers, _linear(features, 1, before_last))
        self.projection = _projection(classes, features, before_last) if classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return score(self.layers, images, self.projection, labels)
