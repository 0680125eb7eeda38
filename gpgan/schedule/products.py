"""Matrix products by the faster of PyTorch's two CPU libraries for them."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import platform
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gpgan.torch_private import onednn_product

# Multiply-adds above which oneDNN's faster product outweighs its slower call.
LARGE = 2**21
BLOCK = 16


@functools.cache
def onednn_is_faster() -> bool:
    """Whether oneDNN is faster for float32 products. torch.mm calls MKL, which uses AVX-512 on Intel CPUs only; oneDNN
    uses it on every CPU that has it. Measured on an AMD EPYC: 350 GFLOP/s against 175."""
    if platform.machine() != "x86_64" or not torch.backends.mkl.is_available():
        return False
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return False
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "GenuineIntel" not in cpu.read_text() and onednn_product() is not None


# Each thread has its own value.
_traced = contextvars.ContextVar("traced", default=False)


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """Within the block, only torch.mm computes products: inductor misreads oneDNN's operator as frozen weights."""
    before = _traced.set(True)
    try:
        yield
    finally:
        _traced.reset(before)


def _for_onednn(operations: int, a: Tensor) -> bool:
    large = operations >= LARGE and a.dtype == torch.float32 and not a.is_cuda
    return large and not _traced.get() and onednn_is_faster()


def product(a: Tensor, b: Tensor, row: Tensor | None = None) -> Tensor:
    """a b for a ``[n, k]`` and b ``[k, m]``, plus an optional row ``[m]``."""
    if a.shape[1] == 1 and row is None:
        return a * b
    if _for_onednn(a.shape[0] * a.shape[1] * b.shape[1], a):
        by_onednn = onednn_product()
        assert by_onednn is not None
        return by_onednn(a, b, row)
    return torch.mm(a, b) if row is None else torch.addmm(row, a, b)


def outer(d: Tensor, x: Tensor) -> Tensor:
    """d^T x for d ``[n, m]`` and x ``[n, k]``: the gradient of a weight."""
    # BLAS is much slower for a tall result than for its transpose.
    if 8 * x.shape[1] <= d.shape[1]:
        return product(x.t(), d).t().contiguous()
    return product(_transposed(d) if _for_onednn(d.shape[0] * d.shape[1] * x.shape[1], d) else d.t(), x)


def _transposed(d: Tensor) -> Tensor:
    """d^T, copied by blocks. oneDNN would copy it itself, ten times slower."""
    n, m = d.shape
    if n % BLOCK or m % BLOCK:
        return d.t()
    return d.view(n // BLOCK, BLOCK, m // BLOCK, BLOCK).permute(2, 3, 0, 1).reshape(m, n)
