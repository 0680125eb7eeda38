"""Every kernel, on the CPU and as CUDA run on the CPU, compared with NumPy in float64 on the same inputs."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cases import DTYPES, EACH_LENGTH, EACH_REGIME, Array, batches, close, lengths, normal
from placed import STORAGE, Placed, accumulate, decode, encode, tensor
from tolerances import assert_as_good, tolerance

PENALTY = {"weight": 10.0, "target": 1.0, "one_sided": False, "reduction": "mean"}


def gradients(count: int, length: int, dtype: str) -> Array:
    """Rows with norms from about 0.5 to 2, on both sides of a target of 1."""
    rows = normal(count, length, of="grads", scale=length**-0.5, dtype="float64")
    rows *= np.linspace(0.5, 2, count)[:, None] if count > 1 else 1.5
    return decode(encode(rows, dtype), dtype)


class Interpolate:
    """One set of inputs, and the exact results of forward and backward."""

    def __init__(self, dtype: str, count: int, length: int) -> None:
        self.key = (dtype, count, length)
        self.acc = accumulate(dtype)
        self.real, self.fake, self.grad = (
            normal(count, length, of=name, dtype=dtype) for name in ("real", "fake", "grad")
        )
        alpha = np.random.default_rng(count).uniform(size=count)
        alpha[:2] = (0, 1)[: min(count, 2)] if count > 1 else 0.3
        self.alpha = decode(encode(alpha, self.acc), self.acc)
        column = self.alpha[:, None]
        self.x = column * self.real + (1 - column) * self.fake
        self.grad_real, self.grad_fake = column * self.grad, (1 - column) * self.grad
        products = self.grad * (self.real - self.fake)
        self.grad_alpha, self.sum_scale = products.sum(1), float(np.abs(products).sum(1).max(initial=0))

    def forward(self, host: ModuleType, backend: str, shifts: tuple[int, ...]) -> Placed:
        dtype, count, length = self.key
        x = Placed((count, length), dtype, shifts[2])
        host.interpolate(
            backend,
            dtype,
            count,
            length,
            real=Placed.holding(self.real, dtype, shifts[0]).array,
            fake=Placed.holding(self.fake, dtype, shifts[1]).array,
            alpha=Placed.holding(self.alpha, self.acc, shifts[0]).array,
            x=x.array,
        )
        return x

    def backward(
        self,
        host: ModuleType,
        backend: str,
        shifts: tuple[int, ...] = (0,) * 5,
        wanted: tuple[bool, ...] = (True,) * 3,
    ) -> list[Placed | None]:
        dtype, count, length = self.key
        outs = [
            Placed(shape, of, shift) if want else None
            for want, shape, of, shift in zip(
                wanted,
                ((count, length), (count, length), (count,)),
                (dtype, dtype, self.acc),
                (shifts[3], shifts[4], shifts[3]),
                strict=True,
            )
        ]
        host.interpolate_backward(
            backend,
            dtype,
            count,
            length,
            grad=Placed.holding(self.grad, dtype, shifts[0]).array,
            # Read only for grad_alpha.
            real=Placed.holding(self.real, dtype, shifts[1]).array if wanted[2] else None,
            fake=Placed.holding(self.fake, dtype, shifts[2]).array if wanted[2] else None,
            alpha=Placed.holding(self.alpha, self.acc, shifts[0]).array,
            **{
                name: out and out.array
                for name, out in zip(("grad_real", "grad_fake", "grad_alpha"), outs, strict=True)
            },
        )
        return outs

    def check_backward(self, outs: list[Placed | None]) -> None:
        exact = (self.grad_real, self.grad_fake, self.grad_alpha)
        for out, wanted, scale in zip(outs, exact, (0, 0, self.sum_scale), strict=True):
            if out is not None:
                close(out, wanted, scale=scale)


def exact_penalty(
    grads: Array, *, weight: float, target: float, one_sided: bool, reduction: str
) -> tuple[Array, Array, Array]:
    """value, norms and direction, the derivative of the sum of the value."""
    with np.errstate(invalid="ignore"):
        norms = np.sqrt((grads**2).sum(1))
        excess = np.where(one_sided & (norms < target), 0, norms - target)
        scale = weight / len(grads) if reduction == "mean" else weight
        value = scale * excess**2
        direction = np.where(norms == 0, 0, 2 * scale * excess / np.where(norms == 0, 1, norms))[:, None] * grads
    return (value if reduction == "none" else value.sum()), norms, direction


def run_penalty(
    host: ModuleType,
    backend: str,
    dtype: str,
    grads: Array,
    shifts: tuple[int, int] = (0, 0),
    with_direction: bool = True,
    **penalty: Any,
) -> tuple[Placed, Placed, Placed | None]:
    penalty = PENALTY | penalty
    count, length = grads.shape
    acc = accumulate(dtype)
    value = Placed((count,) if penalty["reduction"] == "none" else (), acc, shifts[1])
    norms = Placed((count,), acc, shifts[1])
    direction = Placed((count, length), dtype, shifts[1]) if with_direction else None
    host.gradient_norm_penalty(
        backend,
        dtype,
        count,
        length,
        grads=Placed.holding(grads, dtype, shifts[0]).array,
        value=value.array,
        norms=norms.array,
        direction=direction and direction.array,
        **penalty,
    )
    for out in (value, norms, direction):
        if out is not None:
            out.check_border()
    return value, norms, direction


def run_penalty_backward(
    host: ModuleType,
    backend: str,
    dtype: str,
    grads: Array,
    norms: Array,
    grad_value: Array | None,
    grad_norms: Array | None,
    shifts: tuple[int, int] = (0, 0),
    **penalty: Any,
) -> Placed:
    acc = accumulate(dtype)
    out = Placed(grads.shape, dtype, shifts[1])
    host.gradient_norm_penalty_backward(
        backend,
        dtype,
        *grads.shape,
        grad_value=None if grad_value is None else Placed.holding(grad_value, acc, shifts[0]).array,
        grad_norms=None if grad_norms is None else Placed.holding(grad_norms, acc, shifts[0]).array,
        grads=Placed.holding(grads, dtype, shifts[0]).array,
        norms=Placed.holding(norms, acc, shifts[0]).array,
        grad_grads=out.array,
        **PENALTY | penalty,
    )
    out.check_border()
    return out


def check_penalty(grads: Array, results: tuple[Placed, Placed, Placed | None], dtype: str, **penalty: Any) -> None:
    penalty = PENALTY | penalty
    value, norms, direction = results
    exact_value, exact_norms, exact_direction = exact_penalty(grads, **penalty)
    # (n - target) loses the digits that n and target share, so errors are relative to n^2 k and n k.
    finite = np.nan_to_num(exact_norms, posinf=0).max(initial=0)
    scale = penalty["weight"] * (finite + penalty["target"])
    close(norms, exact_norms)
    close(value, exact_value, scale=scale * finite)
    if direction is not None:
        acc_error = tolerance(accumulate(dtype))["rtol"] * scale
        limits = tolerance(dtype)
        np.testing.assert_allclose(
            direction.values, exact_direction, rtol=limits["rtol"], atol=limits["atol"] + acc_error, equal_nan=True
        )


@pytest.mark.parametrize(("dtype", "length"), EACH_LENGTH)
def test_interpolate(host: ModuleType, backend: str, dtype: str, length: int) -> None:
    for count in batches(length):
        case = Interpolate(dtype, count, length)
        for shift in (0, 1):
            close(case.forward(host, backend, (shift,) * 3), case.x)


@pytest.mark.parametrize(("dtype", "length"), EACH_LENGTH)
def test_interpolate_backward(host: ModuleType, backend: str, dtype: str, length: int) -> None:
    for count in batches(length):
        case = Interpolate(dtype, count, length)
        for shift in (0, 1):
            case.check_backward(case.backward(host, backend, (shift,) * 5))


@pytest.mark.parametrize(("dtype", "length"), EACH_LENGTH)
def test_gradient_norm_penalty(host: ModuleType, backend: str, dtype: str, length: int) -> None:
    for count in batches(length):
        grads = gradients(count, length, dtype)
        for shift, with_direction in itertools.product((0, 1), (True, False)):
            results = run_penalty(host, backend, dtype, grads, (shift, shift), with_direction)
            check_penalty(grads, results, dtype)


@pytest.mark.parametrize(("dtype", "length"), EACH_LENGTH)
def test_gradient_norm_penalty_backward(host: ModuleType, backend: str, dtype: str, length: int) -> None:
    acc = accumulate(dtype)
    for count in batches(length):
        grads = gradients(count, length, dtype)
        norms = decode(encode(exact_penalty(grads, **PENALTY)[1], acc), acc)
        p = np.array(0.7)
        q = normal(count, of="grad_norms", dtype=acc)
        slope = 2 * PENALTY["weight"] / count * (norms - PENALTY["target"])
        exact = ((p * slope + q) / norms)[:, None] * grads
        for shift in (0, 1):
            out = run_penalty_backward(host, backend, dtype, grads, norms, p, q, (shift, shift))
            close(out, exact, scale=tolerance(acc)["rtol"])


@pytest.mark.parametrize(("dtype", "length"), EACH_REGIME)
def test_one_misaligned_pointer(host: ModuleType, backend: str, dtype: str, length: int) -> None:
    """A wide load or store needs every pointer to be aligned: here all but one are."""
    length -= length % 8
    case, grads = Interpolate(dtype, 3, length), gradients(3, length, dtype)
    norms = exact_penalty(grads, **PENALTY)[1]
    for one in np.eye(5, dtype=int).tolist():
        close(case.forward(host, backend, tuple(one)), case.x)
        case.check_backward(case.backward(host, backend, tuple(one)))
    aligned = run_penalty(host, backend, dtype, grads, (0, 0))
    for two in ((0, 1), (1, 0)):
        shifted = run_penalty(host, backend, dtype, grads, two)
        check_penalty(grads, shifted, dtype)
        if two[0] == 0:  # where the direction is written does not change how the squares are added
            assert [each.bits for each in shifted] == [each.bits for each in aligned]
        same = run_penalty_backward(host, backend, dtype, grads, norms, np.array(1.0), None, (0, 0))
        assert run_penalty_backward(host, backend, dtype, grads, norms, np.array(1.0), None, two).bits == same.bits


@pytest.mark.parametrize("wanted", list(itertools.product((True, False), repeat=3)))
@pytest.mark.parametrize(("dtype", "length"), EACH_REGIME)
def test_interpolate_backward_without_some_outputs(
    host: ModuleType, backend: str, dtype: str, length: int, wanted: tuple[bool, ...]
) -> None:
    case = Interpolate(dtype, 3, length)
    case.check_backward(case.backward(host, backend, wanted=wanted))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize(("dtype", "length"), EACH_REGIME)
def test_every_penalty(
    host: ModuleType, backend: str, dtype: str, length: int, one_sided: bool, reduction: str
) -> None:
    grads = gradients(9, length, dtype)
    for weight, target in ((10.0, 1.0), (0.5, 0.0), (0.0, 1.0)):
        penalty = {"weight": weight, "target": target, "one_sided": one_sided, "reduction": reduction}
        check_penalty(grads, run_penalty(host, backend, dtype, grads, **penalty), dtype, **penalty)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize(("dtype", "length"), EACH_REGIME)
def test_every_penalty_backward(
    host: ModuleType, backend: str, dtype: str, length: int, one_sided: bool, reduction: str
) -> None:
    count, acc = 9, accumulate(dtype)
    penalty = {"weight": 10.0, "target": 1.0, "one_sided": one_sided, "reduction": reduction}
    grads = gradients(count, length, dtype)
    grads[4] = 0
    norms = decode(encode(exact_penalty(grads, **penalty)[1], acc), acc)
    values = normal(*((count,) if reduction == "none" else ()), of="grad_value", dtype=acc)
    for p, q in itertools.product((values, None), (normal(count, of="grad_norms", dtype=acc), None)):
        out = run_penalty_backward(host, backend, dtype, grads, norms, p, q, **penalty)
        excess = np.where(one_sided & (norms < 1), 0, norms - 1)
        slope = 2 * (10 / count if reduction == "mean" else 10) * excess
        upstream = (0 if p is None else p) * slope + (0 if q is None else q)
        exact = np.where(norms == 0, 0, upstream / np.where(norms == 0, 1, norms))[:, None] * grads
        close(out, exact, scale=20 * tolerance(acc)["rtol"])
        assert not out.values[4].any()


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("dtype", "length"), EACH_REGIME)
def test_zero_rows(host: ModuleType, backend: str, dtype: str, length: int, reduction: str) -> None:
    """The subgradient at zero is zero, exactly, and the value is weight * target^2."""
    grads = gradients(5, length, dtype)
    grads[[0, 3]] = 0
    value, norms, direction = run_penalty(host, backend, dtype, grads, reduction=reduction)
    check_penalty(grads, (value, norms, direction), dtype, reduction=reduction)
    assert direction is not None
    assert not direction.values[[0, 3]].any()
    assert not norms.values[[0, 3]].any()
    if reduction == "none":
        np.testing.assert_array_equal(value.values[[0, 3]], 10.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize(("dtype", "length"), EACH_REGIME)
def test_nan_and_inf_reach_the_value(
    host: ModuleType, backend: str, dtype: str, length: int, one_sided: bool, bad: float
) -> None:
    grads = gradients(4, length, dtype)
    for column, reduction in ((0, "mean"), (length // 2, "sum"), (length - 1, "none")):
        spoilt = grads.copy()
        spoilt[2, column] = bad
        penalty = PENALTY | {"one_sided": one_sided, "reduction": reduction}
        value, norms, direction = run_penalty(host, backend, dtype, spoilt, **penalty)
        np.testing.assert_equal(norms.values[2], abs(bad))
        np.testing.assert_equal(value.values[2] if reduction == "none" else value.values.item(), abs(bad))
        # The other rows are not affected.
        exact_value, exact_norms, exact_direction = exact_penalty(grads, **penalty)
        keep = [0, 1, 3]
        np.testing.assert_allclose(norms.values[keep], exact_norms[keep], **tolerance(accumulate(dtype)))
        if reduction == "none":
            np.testing.assert_allclose(value.values[keep], exact_value[keep], rtol=1e-4, atol=1e-4)
        assert direction is not None
        np.testing.assert_allclose(direction.values[keep], exact_direction[keep], rtol=1e-2, atol=1e-4)
        if np.isnan(bad):
            assert np.isnan(direction.values[2]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("dtype", "length"), EACH_REGIME)
def test_interpolate_carries_nan_and_inf(host: ModuleType, backend: str, dtype: str, length: int, bad: float) -> None:
    case = Interpolate(dtype, 3, length)
    case.real[2, length // 2] = bad
    exact = case.x.copy()
    exact[2, length // 2] = bad
    close(case.forward(host, backend, (0, 0, 0)), exact)


@pytest.mark.parametrize("length", [0, 1, 100, 100_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_samples(host: ModuleType, backend: str, dtype: str, length: int) -> None:
    """B = 0: nothing runs and nothing is written; the caller sets the empty sum."""
    case = Interpolate(dtype, 0, length)
    assert case.forward(host, backend, (0, 0, 0)).untouched
    for out in case.backward(host, backend):
        assert out is not None
        assert out.untouched
    none = np.zeros((0, length))
    for out in run_penalty(host, backend, dtype, none):
        assert out is not None
        assert out.untouched
    assert run_penalty_backward(host, backend, dtype, none, np.zeros(0), np.array(1.0), np.zeros(0)).untouched


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_samples(host: ModuleType, backend: str, dtype: str) -> None:
    """N = 0: a norm over no elements is zero."""
    case = Interpolate(dtype, 3, 0)
    assert case.forward(host, backend, (0, 0, 0)).untouched
    case.check_backward(case.backward(host, backend))
    grads = np.zeros((3, 0))
    check_penalty(grads, run_penalty(host, backend, dtype, grads), dtype)
    run_penalty_backward(host, backend, dtype, grads, np.zeros(3), np.array(1.0), None)


@pytest.mark.parametrize(("dtype", "length"), EACH_REGIME)
def test_same_bits_in_any_order(host: ModuleType, backend: str, dtype: str, length: int) -> None:
    """Neither the run, nor the number of threads, nor the order of pieces or blocks changes a bit."""
    count = 5 if length * np.dtype(STORAGE[dtype]).itemsize > 50_000 else 70
    case, grads = Interpolate(dtype, count, length), gradients(count, length, dtype)

    def results() -> list[bytes]:
        outs = [case.forward(host, backend, (0, 0, 0)), *case.backward(host, backend)]
        for reduction in ("mean", "sum", "none"):
            outs += run_penalty(host, backend, dtype, grads, reduction=reduction)
        norms = exact_penalty(grads, **PENALTY)[1]
        outs.append(run_penalty_backward(host, backend, dtype, grads, norms, np.array(1.0), norms))
        return [out.bits for out in outs if out is not None]

    first = results()
    schedules = [(1, "forward"), (1, "reversed")]
    if backend == "cpu":
        schedules += [(pieces, order) for pieces in (2, 3, 7, 1000) for order in ("forward", "reversed", "threads")]
    for pieces, order in schedules:
        host.set_schedule(pieces, order)
        assert results() == first, (pieces, order)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("length", [1, 33, 1000, 40_000])
def test_half_precision_is_as_good_as_plain_torch(host: ModuleType, backend: str, dtype: str, length: int) -> None:
    case, grads = Interpolate(dtype, 3, length), gradients(3, length, dtype)
    real, fake, grad, g = (tensor(values, dtype) for values in (case.real, case.fake, case.grad, grads))
    alpha = tensor(case.alpha, "float32").to(real.dtype)[:, None]
    grad_real, grad_fake, grad_alpha = case.backward(host, backend)
    value, norms, direction = run_penalty(host, backend, dtype, grads)
    assert grad_real is not None
    assert grad_fake is not None
    assert grad_alpha is not None
    assert direction is not None
    exact = exact_penalty(grads, **PENALTY)
    plain_norms = g.square().sum(1).sqrt()
    plain_value = (10 * (plain_norms - 1).square()).mean()
    plain_direction = (20 / 3 * (plain_norms - 1) / plain_norms)[:, None] * g
    for mine, plain, exactly in (
        (case.forward(host, backend, (0, 0, 0)), alpha * real + (1 - alpha) * fake, case.x),
        (grad_real, alpha * grad, case.grad_real),
        (grad_fake, (1 - alpha) * grad, case.grad_fake),
        (grad_alpha, (grad * (real - fake)).sum(1), case.grad_alpha),
        (norms, plain_norms, exact[1]),
        (value, plain_value, exact[0]),
        (direction, plain_direction, exact[2]),
    ):
        assert_as_good(tensor(mine.values, mine.dtype), plain, tensor(np.asarray(exactly), "float64"))


def test_values_of_many_rows(host: ModuleType, backend: str) -> None:
    """Batches whose values several blocks add up, also one row shorter and one row longer than whole blocks."""
    for count in (255, 256, 257, 5000):
        grads = gradients(count, 3, "float32")
        check_penalty(grads, run_penalty(host, backend, "float32", grads), "float32")
        check_penalty(
            grads, run_penalty(host, backend, "float32", grads, reduction="none"), "float32", reduction="none"
        )


def test_alpha_outside_of_zero_to_one(host: ModuleType, backend: str) -> None:
    """The kernels extrapolate as the formula does; callers check the range."""
    case = Interpolate("float64", 2, 10)
    case.alpha[:] = (-1, 3)
    column = case.alpha[:, None]
    close(case.forward(host, backend, (0, 0, 0)), column * case.real + (1 - column) * case.fake)


@pytest.mark.parametrize("dtype", DTYPES)
def test_workspace_is_no_larger_than_the_sums(cuda_host: ModuleType, dtype: str) -> None:
    """The bindings pass exactly workspace_bytes and check the memory after them; here: that these are few."""
    acc = np.dtype(STORAGE[accumulate(dtype)]).itemsize
    size = np.dtype(STORAGE[dtype]).itemsize
    for count, length in itertools.product((0, 1, 3, 70), lengths(dtype)):
        chunks = -(-length * size // (32 << 10))
        assert 0 <= cuda_host.workspace_bytes(dtype, count, length) <= acc * count * (chunks + 1), (count, length)
