"""gpgan.ops.interpolate: numbers, layouts and derivatives, native and reference."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from layouts import LAYOUTS, randn, strides_kept
from tolerances import assert_as_good, assert_near
from torch import Tensor

from gpgan import ops

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
HALVES = (torch.float16, torch.bfloat16)


@pytest.fixture
def backend(impl: str) -> ModuleType:
    return {"native": ops, "reference": ops.reference}[impl]


def acc(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def column(alpha: Tensor, samples: Tensor) -> Tensor:
    return alpha.reshape(-1, *[1] * (samples.dim() - 1))


def plain(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    return column(alpha, real) * real + (1 - column(alpha, real)) * fake


def numbers(layout: str, dtype: torch.dtype, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor]:
    real, fake = randn(layout, dtype, device), randn(layout, dtype, device)
    # Multiples of 1/64 are exact in every dtype, so that plain code does not suffer from a rounded alpha.
    alpha = (torch.randint(0, 65, (len(real),)) / 64).to(device)
    return real, fake, alpha.to(acc(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_value(layout: str, dtype: torch.dtype, backend: ModuleType, device: torch.device) -> None:
    real, fake, alpha = numbers(layout, dtype, device)
    x = backend.interpolate(real, fake, alpha)
    exact = plain(real.double(), fake.double(), alpha.double())
    assert x.dtype == dtype
    assert x.shape == real.shape
    assert_near(x, exact)
    if dtype in HALVES:
        assert_as_good(x, plain(real, fake, alpha.to(dtype)), exact)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_native_result_keeps_the_strides_of_real(layout: str, device: torch.device) -> None:
    real, fake, alpha = numbers(layout, torch.float32, device)
    x = ops.interpolate(real, fake, alpha)
    assert x.stride() == (real.stride() if strides_kept(layout) else torch.empty(real.shape).stride())
    assert x.storage_offset() == 0


@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
def test_real_and_fake_in_different_layouts(
    form: torch.memory_format, backend: ModuleType, device: torch.device
) -> None:
    real, fake, alpha = numbers("images", torch.float64, device)
    other = torch.contiguous_format if form == torch.channels_last else torch.channels_last
    exact = plain(real, fake, alpha)
    real = real.contiguous(memory_format=form).requires_grad_()
    fake = fake.contiguous(memory_format=other).requires_grad_()
    alpha = alpha.requires_grad_()
    x = backend.interpolate(real, fake, alpha)
    assert_near(x, exact)
    up = torch.randn(real.shape, dtype=real.dtype).to(device).transpose(2, 3).contiguous().transpose(2, 3)
    ours = torch.autograd.grad(x, (real, fake, alpha), up)
    for mine, theirs in zip(ours, torch.autograd.grad(plain(real, fake, alpha), (real, fake, alpha), up), strict=True):
        assert_near(mine, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient(layout: str, dtype: torch.dtype, backend: ModuleType, device: torch.device) -> None:
    real, fake, alpha = (value.requires_grad_() for value in numbers(layout, dtype, device))
    up = randn(layout, dtype, device)
    ours = torch.autograd.grad(backend.interpolate(real, fake, alpha), (real, fake, alpha), up)
    exact = [
        up.double() * column(alpha.double(), up),
        up.double() * (1 - column(alpha.double(), up)),
        (up.double() * (real.double() - fake.double())).unsqueeze(-1).flatten(1).sum(1),
    ]
    assert [g.dtype for g in ours] == [dtype, dtype, acc(dtype)]
    assert [g.shape for g in ours] == [real.shape, fake.shape, alpha.shape]
    for mine, theirs in zip(ours[:2], exact[:2], strict=True):
        assert_near(mine, theirs)
    assert_near(ours[2], exact[2], terms=math.sqrt(real[0].numel()))
    if dtype in HALVES:
        halves = [value.detach().requires_grad_() for value in (real, fake, alpha.to(dtype))]
        theirs = torch.autograd.grad(plain(*halves), halves, up)
        for mine, other, true in zip(ours[:2], theirs[:2], exact[:2], strict=True):
            assert_as_good(mine, other, true)


@pytest.mark.parametrize("expected", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_only_what_is_asked_for(expected: tuple[int, ...], backend: ModuleType) -> None:
    values = [value.requires_grad_(i in expected) for i, value in enumerate(numbers("images", torch.float64, "cpu"))]
    asked = [values[i] for i in expected]
    up = randn("images", torch.float64)
    ours = torch.autograd.grad(backend.interpolate(*values), asked, up)
    for mine, theirs in zip(ours, torch.autograd.grad(plain(*values), asked, up), strict=True):
        assert_near(mine, theirs)


@pytest.mark.parametrize("layout", ["numbers", "points", "images", "channels_last", "sliced"])
def test_gradcheck_and_gradgradcheck(layout: str, backend: ModuleType) -> None:
    values = tuple(value[:3].requires_grad_() for value in numbers(layout, torch.float64, "cpu"))
    torch.autograd.gradcheck(backend.interpolate, values, fast_mode=True)
    torch.autograd.gradgradcheck(backend.interpolate, values, fast_mode=True)


def test_gradgradcheck_where_only_some_inputs_require_grad(backend: ModuleType) -> None:
    for only in range(3):
        values = [
            value[:3].requires_grad_(i == only) for i, value in enumerate(numbers("points", torch.float64, "cpu"))
        ]
        # Squared, so that there is a second derivative with respect to one input alone.
        torch.autograd.gradgradcheck(lambda *args: backend.interpolate(*args).square(), values)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (0, 3, 4, 4), (2, 0), (2, 0, 3), (0, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_empty(shape: tuple[int, ...], dtype: torch.dtype, backend: ModuleType, device: torch.device) -> None:
    real = torch.zeros(shape, dtype=dtype, device=device, requires_grad=True)
    fake = torch.zeros(shape, dtype=dtype, device=device, requires_grad=True)
    alpha = torch.rand(shape[0]).to(device).to(acc(dtype)).requires_grad_()
    x = backend.interpolate(real, fake, alpha)
    assert x.shape == shape
    grads = torch.autograd.grad(x.sum(), (real, fake, alpha))
    assert [g.shape for g in grads] == [real.shape, fake.shape, alpha.shape]
    assert torch.equal(grads[2], torch.zeros_like(alpha))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_ends_are_exact(alpha: float, backend: ModuleType) -> None:
    real, fake, _ = numbers("images", torch.float32, "cpu")
    x = backend.interpolate(real, fake, torch.full((4,), alpha))
    assert torch.equal(x, real if alpha else fake)


def test_alpha_of_any_floating_dtype(backend: ModuleType) -> None:
    real, fake, alpha = numbers("images", torch.float32, "cpu")
    for dtype in DTYPES:
        assert torch.equal(backend.interpolate(real, fake, alpha.to(dtype)), backend.interpolate(real, fake, alpha))


def test_strided_alpha(backend: ModuleType) -> None:
    real, fake, alpha = numbers("images", torch.float32, "cpu")
    apart = torch.full((4, 3), float("nan"))
    apart[:, 1] = alpha
    assert torch.equal(backend.interpolate(real, fake, apart[:, 1]), backend.interpolate(real, fake, alpha))
    one = alpha[:1].expand(4)
    assert torch.equal(backend.interpolate(real, fake, one), backend.interpolate(real, fake, one.contiguous()))


@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_gives_float32(dtype: torch.dtype, backend: ModuleType, device: torch.device) -> None:
    real, fake, alpha = numbers("images", dtype, device)
    with torch.autocast(device.type, dtype):
        x = backend.interpolate(real, fake, alpha)
    assert x.dtype == torch.float32
    assert_near(x, plain(real.double(), fake.double(), alpha.double()))


@pytest.mark.parametrize(("change", "error", "match"), [
    ({"real": torch.ones(4, 3, dtype=torch.int32)}, TypeError, "real has dtype"),
    ({"real": [1.0]}, TypeError, "real is a list"),
    ({"real": torch.tensor(1.0)}, ValueError, "real is a scalar"),
    ({"fake": torch.ones(4, 2)}, ValueError, "fake has shape"),
    ({"fake": torch.ones(4, 3).double()}, TypeError, "fake has dtype"),
    ({"fake": torch.ones(4, 3, device="meta")}, ValueError, "fake has device"),
    ({"alpha": torch.ones(4, 1)}, ValueError, "alpha has shape"),
    ({"alpha": torch.ones(3)}, ValueError, "alpha has shape"),
    ({"alpha": torch.ones(4, dtype=torch.int64)}, TypeError, "alpha has dtype"),
    ({"alpha": torch.ones(4, device="meta")}, ValueError, "alpha is on meta"),
])  # fmt: skip
def test_bad_argument(change: dict[str, object], error: type[Exception], match: str, backend: ModuleType) -> None:
    arguments = {"real": torch.ones(4, 3), "fake": torch.ones(4, 3), "alpha": torch.ones(4)} | change
    with pytest.raises(error, match=match):
        backend.interpolate(**arguments)
