"""gpgan.ops.gradient_norm_penalty and its one-pass form: numbers, layouts and derivatives, native and reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from types import ModuleType

import pytest
import torch
from layouts import LAYOUTS, randn, strides_kept
from tolerances import assert_as_good, assert_near
from torch import Tensor

from gpgan import ops
from gpgan.ops import reference

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
HALVES = (torch.float16, torch.bfloat16)
REDUCTIONS = ("mean", "sum", "none")
OPTIONS = [
    {"reduction": reduction, "one_sided": one_sided, "target": target, "weight": weight}
    for reduction, one_sided, (target, weight) in product(REDUCTIONS, (False, True), ((1.0, 10.0), (0.0, 0.5)))
]
# The shape selects one of three regimes of row length: their boundaries, and odd lengths on either side.
LENGTHS = (1, 2, 31, 32, 33, 127, 128, 129, 1023, 1024, 1025, 4099, 65537)


@pytest.fixture
def backend(impl: str) -> ModuleType:
    return {"native": ops, "reference": ops.reference}[impl]


def acc(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def plain_norms(g: Tensor) -> Tensor:
    return (g * g).unsqueeze(-1).flatten(1).sum(1).sqrt()


def plain(
    g: Tensor, weight: float = 10.0, target: float = 1.0, one_sided: bool = False, reduction: str = "mean"
) -> tuple[Tensor, Tensor]:
    norms = plain_norms(g)
    excess = torch.relu(norms - target) if one_sided else norms - target
    each = weight * excess**2
    return {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction], norms


def plain_direction(g: Tensor, **options: object) -> Tensor:
    """d sum(penalty) / d g, for rows that are not zero."""
    g = g.detach().requires_grad_()
    (direction,) = torch.autograd.grad(plain(g, **options)[0].sum(), g)
    return direction


def sample(layout: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Gradients with norms of about 1.5."""
    shape = LAYOUTS[layout][1]
    return randn(layout, dtype, device, scale=1.5 / math.sqrt(math.prod(shape[1:])))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_value_norms_and_gradient(layout: str, dtype: torch.dtype, backend: ModuleType, device: torch.device) -> None:
    g = sample(layout, dtype, device).requires_grad_()
    penalty, norms = backend.gradient_norm_penalty(g)
    exact_penalty, exact_norms = plain(g.detach().double())
    assert penalty.dtype == norms.dtype == acc(dtype)
    assert (penalty.shape, norms.shape) == ((), g.shape[:1])
    assert_near(norms, exact_norms)
    # (n - 1)^2 loses the digits that cancel in n - 1, so the scale of the comparison is n^2.
    assert_near(penalty, exact_penalty, terms=10 * exact_norms.square().mean())
    (ours,) = torch.autograd.grad(penalty, g)
    exact = plain_direction(g.double())
    assert ours.dtype == dtype
    assert_near(ours, exact, terms=exact.abs().max())
    if dtype in HALVES:
        assert_as_good(ours, plain_direction(g), exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_direction_is_the_gradient_and_keeps_the_layout(layout: str, dtype: torch.dtype, device: torch.device) -> None:
    g = sample(layout, dtype, device).requires_grad_()
    penalty, norms, direction = ops.gradient_norm_penalty_with_direction(g)
    assert not any(value.requires_grad for value in (penalty, norms, direction))
    two_pass = ops.gradient_norm_penalty(g)
    assert_near(penalty, two_pass[0])
    assert torch.equal(norms, two_pass[1])
    assert direction.dtype == dtype
    assert direction.stride() == (g.stride() if strides_kept(layout) else torch.empty(g.shape).stride())
    (gradient,) = torch.autograd.grad(two_pass[0], g)
    assert gradient.stride() == direction.stride()
    exact = plain_direction(g.double())
    for value in (direction, gradient):
        assert_near(value, exact, terms=exact.abs().max())


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options(options: dict[str, object], backend: ModuleType, device: torch.device) -> None:
    g = (torch.randn(40, 3, dtype=torch.float64) / 1.7).to(device).requires_grad_()
    penalty, norms = backend.gradient_norm_penalty(g, **options)
    exact, exact_norms = plain(g, **options)
    assert_near(penalty, exact)
    assert_near(norms, exact_norms)
    assert (exact_norms < 1).any()
    assert (exact_norms > 1).any()
    up = torch.randn_like(penalty), torch.randn_like(norms)
    (ours,) = torch.autograd.grad((penalty, norms), g, up)
    (theirs,) = torch.autograd.grad((exact, exact_norms), g, up)
    assert_near(ours, theirs)
    if backend is ops:
        *_, direction = ops.gradient_norm_penalty_with_direction(g, **options)
        assert_near(direction, plain_direction(g, **options))


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_length_of_the_row(batch: int, length: int, dtype: torch.dtype, device: torch.device) -> None:
    g = (torch.randn(batch, length) * 3 / math.sqrt(length)).to(dtype).to(device)
    value, norms, direction = ops.gradient_norm_penalty_with_direction(g, reduction="sum")
    exact_value, exact_norms = plain(g.double(), reduction="sum")
    assert_near(norms, exact_norms)
    assert_near(value, exact_value, terms=10 * exact_norms.square().sum())
    exact = plain_direction(g.double(), reduction="sum")
    assert_near(direction, exact, terms=exact.abs().max())


# --- derivatives


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradcheck_and_gradgradcheck(options: dict[str, object], backend: ModuleType) -> None:
    # Norms 0.5, 0.8, 1.5 and 3: on both sides of the target, and away from points without a derivative.
    g = torch.randn(4, 3, dtype=torch.float64)
    g = (g / g.norm(dim=1, keepdim=True) * torch.tensor([[0.5], [0.8], [1.5], [3.0]])).requires_grad_()

    def both(g: Tensor) -> tuple[Tensor, Tensor]:
        return backend.gradient_norm_penalty(g, **options)

    functions: list[Callable[[Tensor], object]] = [both, lambda g: both(g)[0], lambda g: both(g)[1]]
    for function in functions:
        torch.autograd.gradcheck(function, g)
        torch.autograd.gradgradcheck(function, g)


def test_third_derivative(backend: ModuleType) -> None:
    g = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)

    def gradient(g: Tensor) -> Tensor:
        penalty, norms = backend.gradient_norm_penalty(g)
        return torch.autograd.grad(penalty + norms.square().sum(), g, create_graph=True)[0]

    torch.autograd.gradgradcheck(gradient, g)


@pytest.mark.parametrize("layout", ["numbers", "channels_last", "sliced", "batch last", "offset"])
def test_second_derivative_in_other_layouts(layout: str, backend: ModuleType) -> None:
    g = sample(layout, torch.float64).detach().requires_grad_()
    torch.autograd.gradgradcheck(backend.gradient_norm_penalty, g, fast_mode=True)


@pytest.mark.parametrize("dtype", HALVES)
def test_second_derivative_in_half_precision(dtype: torch.dtype, backend: ModuleType) -> None:
    def second(g: Tensor, penalty: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        (first,) = torch.autograd.grad(penalty(g)[0], g, create_graph=True)
        return torch.autograd.grad(first, g, up.to(first))[0]

    g = sample("rows", dtype).requires_grad_()
    up = sample("rows", dtype)
    exact = second(g.detach().double().requires_grad_(), plain)
    ours = second(g, backend.gradient_norm_penalty)
    assert ours.dtype == dtype
    assert_as_good(ours, second(g, plain), exact)


# --- zero, NaN and Inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("one_sided", [False, True])
def test_zero_gradient_has_subgradient_zero(one_sided: bool, dtype: torch.dtype, backend: ModuleType) -> None:
    g = torch.tensor([[0.0, 0.0], [3.0, 4.0], [-0.0, 0.0]], dtype=dtype, requires_grad=True)
    unit = torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.0, 0.0]], dtype=torch.float64)
    penalty, norms = backend.gradient_norm_penalty(g, weight=1.0, one_sided=one_sided, reduction="none")
    assert norms.tolist() == [0.0, 5.0, 0.0]
    assert penalty.tolist() == ([0.0, 16.0, 0.0] if one_sided else [1.0, 16.0, 1.0])
    (grad,) = torch.autograd.grad(penalty.sum() + norms.sum(), g, create_graph=True)
    assert_near(grad, 9 * unit)
    if backend is ops:
        *_, direction = ops.gradient_norm_penalty_with_direction(g, weight=1.0, one_sided=one_sided, reduction="sum")
        assert_near(direction, 8 * unit)
        # Higher derivatives at a zero gradient stay finite too.
        (second,) = torch.autograd.grad(grad.sum(), g)
        assert torch.isfinite(second).all()


@pytest.mark.parametrize("length", [3, 700, 40000])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_inf_reach_penalty_norm_and_gradient_of_their_sample_alone(
    dtype: torch.dtype, one_sided: bool, bad: float, length: int, backend: ModuleType, device: torch.device
) -> None:
    g = torch.randn(3, length, device=device).to(dtype)
    g[1, length // 2] = bad
    g.requires_grad_()
    penalty, norms = backend.gradient_norm_penalty(g, reduction="none", one_sided=one_sided)
    (grad,) = torch.autograd.grad(penalty.sum(), g)
    assert torch.isfinite(penalty).tolist() == torch.isfinite(norms).tolist() == [True, False, True]
    assert math.isnan(penalty[1]) == math.isnan(norms[1]) == math.isnan(bad)
    assert torch.isfinite(grad[::2]).all()
    assert math.isnan(grad[1, length // 2])
    mean, _ = backend.gradient_norm_penalty(g, one_sided=one_sided)
    assert not math.isfinite(mean)
    if backend is ops:
        value, _, direction = ops.gradient_norm_penalty_with_direction(g, one_sided=one_sided)
        assert not math.isfinite(value)
        assert torch.isfinite(direction[::2]).all()
        assert math.isnan(direction[1, length // 2])


@pytest.mark.parametrize("dtype", HALVES)
def test_squares_beyond_float16(dtype: torch.dtype, backend: ModuleType, device: torch.device) -> None:
    g = torch.tensor([[5.0] * 12288, [2.0**-14] * 12288], dtype=dtype, device=device)
    _, norms = backend.gradient_norm_penalty(g)
    assert_near(norms.cpu(), torch.tensor([5.0, 2.0**-14]) * math.sqrt(12288))


# --- edges


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (0, 3, 4, 4)])
def test_empty_batch(shape: tuple[int, ...], reduction: str, backend: ModuleType, device: torch.device) -> None:
    g = torch.zeros(shape, device=device, requires_grad=True)
    penalty, norms = backend.gradient_norm_penalty(g, reduction=reduction)
    assert norms.shape == (0,)
    assert penalty.shape == ((0,) if reduction == "none" else ())
    if reduction != "none":
        assert math.isnan(penalty) == (reduction == "mean")
        assert reduction == "mean" or penalty.item() == 0
    (grad,) = torch.autograd.grad(penalty.sum() + norms.sum(), g)
    assert grad.shape == g.shape
    if backend is ops:
        assert ops.gradient_norm_penalty_with_direction(g, reduction=reduction)[2].shape == g.shape


@pytest.mark.parametrize("shape", [(2, 0), (2, 0, 3)])
def test_samples_without_elements_have_norm_zero(shape: tuple[int, ...], backend: ModuleType) -> None:
    g = torch.zeros(shape, requires_grad=True)
    penalty, norms = backend.gradient_norm_penalty(g, weight=3.0, target=2.0)
    assert norms.tolist() == [0.0, 0.0]
    assert penalty.item() == 12
    assert torch.autograd.grad(penalty, g)[0].shape == shape


@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_gives_float32(dtype: torch.dtype, backend: ModuleType, device: torch.device) -> None:
    g = sample("images", dtype, device).requires_grad_()
    outside, _ = backend.gradient_norm_penalty(g)
    with torch.autocast(device.type, dtype):
        penalty, norms = backend.gradient_norm_penalty(g)
        wide, _ = backend.gradient_norm_penalty(g.double())
    assert penalty.dtype == norms.dtype == torch.float32
    assert wide.dtype == torch.float64
    assert_near(penalty, outside)
    (grad,) = torch.autograd.grad(penalty, g)
    assert grad.dtype == dtype
    assert_near(grad, torch.autograd.grad(outside, g)[0])
    if backend is ops:
        with torch.autocast(device.type, dtype):
            assert ops.gradient_norm_penalty_with_direction(g)[2].dtype == torch.float32


@pytest.mark.parametrize(("change", "error", "match"), [
    ({"grads": torch.ones(4, 3, dtype=torch.int64)}, TypeError, "grads has dtype"),
    ({"grads": torch.ones(4, 3, dtype=torch.complex64)}, TypeError, "grads has dtype"),
    ({"grads": None}, TypeError, "grads is a NoneType"),
    ({"grads": torch.tensor(1.0)}, ValueError, "grads is a scalar"),
    ({"weight": -1.0}, ValueError, "weight is -1.0"),
    ({"weight": "10"}, TypeError, "weight is a str"),
    ({"target": math.nan}, ValueError, "target is nan"),
    ({"target": False}, TypeError, "target is a bool"),
    ({"reduction": "max"}, ValueError, "reduction is 'max'"),
])  # fmt: skip
def test_bad_argument(change: dict[str, object], error: type[Exception], match: str, backend: ModuleType) -> None:
    arguments = {"grads": torch.ones(4, 3)} | change
    with pytest.raises(error, match=match):
        backend.gradient_norm_penalty(**arguments)
    if backend is ops:
        with pytest.raises(error, match=match):
            ops.gradient_norm_penalty_with_direction(**arguments)


# --- the same bits


@pytest.mark.parametrize("shape", [(300, 7), (64, 3, 32, 32), (2, 300007), (1, 1 << 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_over_runs_and_threads(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    g, alpha = torch.randn(shape).to(dtype), torch.rand(shape[0])
    up = torch.randn(shape).to(dtype)
    first = None
    for threads in (1, 2, 3, 2):
        torch.set_num_threads(threads)
        results = [
            *ops.gradient_norm_penalty_with_direction(g),
            ops.interpolate(g, up, alpha),
            *torch.ops.gpgan.interpolate_backward(up, g, g.flip(0), alpha, [True, True, True]),
        ]
        first = first or results
        assert all(torch.equal(a, b) for a, b in zip(first, results, strict=True))


@pytest.mark.parametrize("module", [ops, reference], ids=["native", "reference"])
def test_second_derivative_of_the_squared_norm_at_zero(module: ModuleType) -> None:
    grads = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    penalty, _ = module.gradient_norm_penalty(grads, weight=1.0, target=0.0, reduction="sum")
    (first,) = torch.autograd.grad(penalty, grads, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), grads)
    assert first.abs().max() == 0
    assert second.tolist() == [[2.0] * 3] * 2
