"""Samples in every memory layout, inside buffers of NaN so that a read outside them shows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def _buffer(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.full(shape, math.nan, dtype=like.dtype, device=like.device)


def _offset(t: Tensor) -> Tensor:
    # Three elements past an aligned address: no 16-byte load fits.
    return _buffer((t.numel() + 8,), t)[3 : 3 + t.numel()].view(t.shape).copy_(t)


def _sliced(t: Tensor) -> Tensor:
    return _buffer((t.shape[0], 2 * t.shape[1] + 1, *t.shape[2:]), t)[:, 1::2].copy_(t)


def _every_other(t: Tensor) -> Tensor:
    return _buffer((2 * t.shape[0] + 1, *t.shape[1:]), t)[1::2].copy_(t)


def _columns(t: Tensor) -> Tensor:
    return _buffer((*t.shape[:-1], t.shape[-1] + 5), t)[..., 2 : 2 + t.shape[-1]].copy_(t)


# Name: (how, shape, whether each sample is still one gapless row and rows follow each other).
LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...], bool]] = {
    "numbers": (lambda t: t, (9,), True),
    "points": (lambda t: t, (65, 2), True),
    "rows": (lambda t: t, (4, 1031), True),
    "long rows": (lambda t: t, (2, 100003), True),
    "images": (lambda t: t, (4, 3, 5, 6), True),
    "one image": (lambda t: t, (1, 3, 16, 16), True),
    "volumes": (lambda t: t, (2, 2, 3, 4, 5), True),
    "channels_last": (lambda t: t.contiguous(memory_format=torch.channels_last), (4, 3, 5, 7), True),
    "channels_last_3d": (lambda t: t.contiguous(memory_format=torch.channels_last_3d), (2, 2, 3, 4, 5), True),
    "transposed": (lambda t: t.transpose(1, 2).contiguous().transpose(1, 2), (4, 3, 5, 7), True),
    "offset": (_offset, (4, 3, 5, 7), True),
    "offset channels_last": (
        lambda t: _offset(t.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), (4, 3, 5, 7), True
    ),
    "sliced": (_sliced, (4, 3, 5, 7), False),
    "every other sample": (_every_other, (4, 3, 5, 7), False),
    "columns": (_columns, (4, 3, 5, 7), False),
    "batch last": (lambda t: t.movedim(0, -1).contiguous().movedim(-1, 0), (4, 3, 5, 7), False),
    "expanded batch": (lambda t: t[:1].expand_as(t), (4, 3, 5), False),
    "expanded inside": (lambda t: t[:, :, :1].expand_as(t), (4, 3, 5), False),
    "negated": (lambda t: torch.complex(t.double(), -t.double()).conj().imag.to(t.dtype) if t.dtype != torch.float64
                else torch.complex(t, -t).conj().imag, (4, 3, 5), False),
}  # fmt: skip


def randn(layout: str, dtype: torch.dtype, device: torch.device | str = "cpu", scale: float = 1.0) -> Tensor:
    """Normal numbers times scale, in the named layout."""
    how, shape, _ = LAYOUTS[layout]
    return how((torch.randn(shape, dtype=torch.float64) * scale).to(dtype).to(device))


def strides_kept(layout: str) -> bool:
    """Whether a native operator's result has the strides of samples in this layout, rather than contiguous ones."""
    return LAYOUTS[layout][2]
