"""Matrix products: the same numbers by either library, in every form that the sweeps use."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from gpgan.schedule import products


def matrices(*shapes: tuple[int, ...]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=rng) for shape in shapes]


# The last ones are large enough for oneDNN, where it is faster.
@pytest.mark.parametrize(("n", "k", "m"), [(3, 1, 2), (5, 4, 3), (7, 4, 64), (160, 128, 144), (150, 130, 140)])
@pytest.mark.parametrize("traced", [False, True])
def test_products(n: int, k: int, m: int, traced: bool) -> None:
    a, b, row, d = matrices((n, k), (k, m), (m,), (n, m))
    if traced:
        with products.traced():
            results = products.product(a, b), products.product(a, b, row), products.outer(d, a)
    else:
        results = products.product(a, b), products.product(a, b, row), products.outer(d, a)
    exact = [a.double() @ b.double(), a.double() @ b.double() + row, d.double().t() @ a.double()]
    for result, value in zip(results, exact, strict=True):
        assert result.dtype == torch.float32
        torch.testing.assert_close(result.double(), value, rtol=1e-4, atol=1e-4)


def test_an_outer_product_is_contiguous() -> None:
    d, x = matrices((5, 64), (5, 2))
    assert products.outer(d, x).is_contiguous()


def test_threads_that_trace_at_the_same_time() -> None:
    """The first one begins and ends before the second."""
    begun, ended = threading.Event(), threading.Event()

    def first() -> None:
        with products.traced():
            begun.set()
            entered.wait()
        ended.set()

    entered = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    begun.wait()
    a, b = matrices((160, 160), (160, 160))
    assert products._for_onednn(2**30, a) == products.onednn_is_faster()  # this thread does not trace
    with products.traced():
        entered.set()
        ended.wait()
        assert not products._for_onednn(2**30, a)
    thread.join()
    assert products._for_onednn(2**30, a) == products.onednn_is_faster()
    torch.testing.assert_close(products.product(a, b), a @ b, rtol=1e-4, atol=1e-4)
