"""Piecewise-linear activations are pruned in each of torch's forms, with stock's values and slopes."""

from __future__ import annotations

import math
from collections.abc import Callable

import activation_forms
import pytest
import torch
from activation_forms import ALL, ONE_WEIGHT, OTHERS, SMOOTH, WEIGHT, Activation, points
from against_stock import Around, Between, assert_same, both, penalty_operations
from critics import parameter_grads
from torch import Tensor, nn
from torch.nn import functional as F

from gpgan import gradient_penalty


@pytest.mark.parametrize("name", ALL | OTHERS)
@pytest.mark.parametrize("smooth", SMOOTH)
def test_penalty_and_gradients_are_stocks(name: str, smooth: str) -> None:
    make = (ALL | OTHERS)[name]
    # Smooth layers before and after have second derivatives, which must be kept, also through the first one's output.
    assert_same(lambda: Around((3, 2), SMOOTH[smooth], make(), SMOOTH[smooth]), points(3, 2))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("inner", [(3,), (3, 2, 2)], ids=["vectors", "images"])
def test_every_form_costs_what_a_fixed_diagonal_costs(name: str, inner: tuple[int, ...]) -> None:
    x = points(*inner)
    make = ALL[name]
    assert_same(lambda: Between(make(), inner), x)
    fixed = penalty_operations(Between(lambda h: h * 0.5, inner), x, "stock")
    assert penalty_operations(Between(make(), inner), x, "pruned") == fixed
    assert penalty_operations(Between(make(), inner), x, "stock") > fixed


# --- values and slopes at critical points

SPECIAL = [0.0, -0.0, 1e-310, -1e-310, 5e-324, 1.0, -1.0, 6.0, -0.2, 0.7, 0.5, -0.5, 0.1, 7.0, 3.5, -40.0, 1e30]
ODD = [math.inf, -math.inf, math.nan]
BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


def weights_to(dtype: torch.dtype, make: Callable[[], Activation], monkeypatch: pytest.MonkeyPatch) -> Activation:
    for name in ("WEIGHT", "ONE_WEIGHT"):
        monkeypatch.setattr(activation_forms, name, getattr(activation_forms, name).to(dtype))
    activation = make()
    return activation.to(dtype) if isinstance(activation, nn.Module) else activation


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", BITS, ids=str)
def test_values_are_stocks_to_the_bit_and_slopes_are_equal(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    activation = weights_to(dtype, ALL[name], monkeypatch)
    x = torch.tensor(SPECIAL + ODD, dtype=dtype).view(-1, 1, 1).repeat(1, 3, 1)
    seen, slopes = {}, {}
    for second_order in ("pruned", "stock"):

        def critic(x: Tensor, key: str = second_order) -> Tensor:
            h = x * 1.0
            h.register_hook(lambda grad: slopes.__setitem__(key, grad.detach().clone()))
            out = activation(h)
            seen[key] = out.detach().clone()
            return out.sum((1, 2))

        gradient_penalty(critic, None, None, points=x, second_order=second_order)
    assert torch.equal(seen["pruned"].view(BITS[dtype]), seen["stock"].view(BITS[dtype]))
    assert seen["pruned"].dtype == dtype
    torch.testing.assert_close(slopes["pruned"], slopes["stock"], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ALL)
def test_parameter_gradients_at_kinks_are_stocks(name: str) -> None:
    # PReLU at zero has its own test below.
    values = [value for value in SPECIAL[:-1] if value != 0 or "prelu" not in name.lower()]
    x = torch.tensor(values, dtype=torch.float64).view(-1, 1, 1).repeat(1, 3, 1)
    grads = {}
    for second_order in ("pruned", "stock"):
        before, after = (torch.ones(len(x), 3, 1, dtype=torch.float64).requires_grad_() for _ in range(2))
        activation = ALL[name]()
        if isinstance(activation, nn.Module):
            activation.double()
        penalty = gradient_penalty(
            lambda x, f=activation, a=before, b=after: (f(x * a) * b + 0.5 * x).sum((1, 2)),
            None,
            None,
            points=x,
            second_order=second_order,
        )
        grads[second_order] = torch.autograd.grad(penalty, (before, after))
    for mine, theirs in zip(grads["pruned"], grads["stock"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("second_order", "slope"), [("pruned", 0.3), ("stock", 1.0)])
def test_prelu_at_zero_has_one_slope(second_order: str, slope: float) -> None:
    """A documented difference: stock's slope at zero is the weight in the gradient and 1 in the gradient's derivative."""
    factor = torch.ones((), dtype=torch.float64).requires_grad_()
    penalty, norms = gradient_penalty(
        lambda x: factor * F.prelu(x, ONE_WEIGHT),
        None,
        None,
        points=torch.zeros(1, 1, dtype=torch.float64),
        second_order=second_order,
        return_norms=True,
    )
    assert norms.item() == 0.3
    (grad,) = torch.autograd.grad(penalty, factor)
    # d 10 (0.3 factor - 1)^2 / d factor; the inner derivative is the slope.
    torch.testing.assert_close(grad.item(), 20 * (0.3 - 1) * slope)


def test_an_overflowed_activation_does_not_spoil_the_gradient() -> None:
    """A documented difference: stock multiplies the zero of a second derivative by an infinite activation."""
    critic = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        for parameter, value in zip(critic.parameters(), (1e20, 0.0, 1e-10, 0.0, 1e-10, 0.0), strict=True):
            parameter.fill_(value)
    x = torch.full((2, 1), 1e25)
    assert critic[:2](x).isinf().all()
    grads = {}
    for second_order in ("pruned", "stock"):
        penalty, norms = gradient_penalty(
            critic, None, None, points=x, second_order=second_order, target=2.0, return_norms=True
        )
        torch.testing.assert_close(norms, torch.ones(2))
        grads[second_order] = parameter_grads(critic, penalty)
    assert any(g.isnan().any() for g in grads["stock"])
    # (|w1 w2 w3| - 2)^2 * 10 with w1 w2 w3 = 1: the gradient with respect to each weight is -20 / weight.
    for got, wanted in zip(grads["pruned"], (-20e-20, 0.0, -20e10, 0.0, -20e10, 0.0), strict=True):
        torch.testing.assert_close(got, torch.full_like(got, wanted))


# --- operators that must not be pruned


def test_integers_and_what_needs_no_gradient_pass() -> None:
    class Counting(Around):
        def forward(self, x: Tensor) -> Tensor:
            mask = torch.relu((x > 0).long() - 2).abs()
            with torch.no_grad():
                scale = F.leaky_relu(x.mean(1, keepdim=True), 0.2).abs_()
            constant = F.relu(torch.ones(1, 3, dtype=torch.float64)).prelu(WEIGHT)
            return super().forward(x * constant + mask + scale)

    assert_same(lambda: Counting((3,), F.relu), points(3))


def test_complex_numbers_pass() -> None:
    class Spectrum(Around):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.fft.fft(x).abs() + torch.view_as_complex(torch.stack([x, -x], -1)).abs())

    assert_same(lambda: Spectrum((3,), F.relu), points(3))


def test_random_slopes_in_training_are_drawn_alike() -> None:
    pruned, stock = both(lambda: Around((3, 2), nn.RReLU(), nn.Dropout(0.3)), points(3, 2))
    assert torch.equal(pruned["rng"], stock["rng"])
    assert torch.equal(pruned["norms"], stock["norms"])
