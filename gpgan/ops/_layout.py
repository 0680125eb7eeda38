"""The memory layout of samples, and vmap's extra dimension folded into the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def is_row_dense(samples: Tensor) -> bool:
    """Whether each sample [B, ...] is one row without gaps and rows are adjacent, with any order inside a row."""
    expected = 1
    for stride, size in sorted(zip(samples.stride()[1:], samples.shape[1:], strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return samples.shape[0] <= 1 or samples.stride(0) == expected


def empty_rows(samples: Tensor) -> Tensor:
    """What the native operators allocate for a result: the strides of samples if these are row-dense, else contiguous."""
    if is_row_dense(samples):
        return torch.empty_like(samples)
    return torch.empty_like(samples, memory_format=torch.contiguous_format)


def column(values: Tensor, samples: Tensor) -> Tensor:
    """values [B] as [B, 1, ...], for a product with samples [B, ...]."""
    return values.reshape(-1, *[1] * (samples.dim() - 1))


def row_dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each sample of a [B, ...] with the same sample of b, [B]."""
    return (a * b).unsqueeze(-1).flatten(1).sum(1)


def fold(batch: int, in_dims: Sequence[int | None], values: Sequence[Any]) -> list[Any]:
    """Tensors of vmap, [..., batch, ...] or shared, each as [batch * B, ...]; other values unchanged."""
    return [
        lead(batch, dim, value).flatten(0, 1) if isinstance(value, Tensor) else value
        for dim, value in zip(in_dims, values, strict=True)
    ]


def lead(batch: int, dim: int | None, value: Tensor) -> Tensor:
    """value with vmap's dimension first; expanded if it has none."""
    return value.expand(batch, *value.shape) if dim is None else value.movedim(dim, 0)


def unfold(batch: int, value: Tensor) -> Tensor:
    """The inverse of fold on a result [batch * B, ...]."""
    unfolded: Tensor = value.unflatten(0, (batch, value.shape[0] // batch))
    return unfolded
