"""Half precision: samples, autocast and the scale of a GradScaler, compared with the penalty in float32."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from critics import linear, parameter_grads, quadratic
from tolerances import assert_near
from torch import Tensor, nn

from gpgan import gradient_penalty

HALVES = (torch.float16, torch.bfloat16)
SCALES = (1.0, 1024.0, 65536.0, 2.0**24)


def small_critic(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)).to(dtype)


def scalers(scale: float) -> list[float | Tensor | torch.amp.GradScaler]:
    return [scale, torch.tensor(scale), torch.amp.GradScaler("cpu", init_scale=scale)]


def cosine(a: list[Tensor], b: list[Tensor]) -> float:
    flat = [torch.cat([g.flatten() for g in grads]).double() for grads in (a, b)]
    return float(torch.nn.functional.cosine_similarity(*flat, dim=0))


@pytest.mark.parametrize("dtype", HALVES)
def test_sum_of_squares_does_not_overflow(dtype: torch.dtype, impl: str, device: torch.device) -> None:
    # 12288 values of 5.0: their squares sum to 307200, above float16's 65504.
    x = torch.full((2, 3, 64, 64), 5.0, dtype=dtype, device=device)
    penalty, norms = gradient_penalty(quadratic_in_float, x, x, impl=impl, return_norms=True)
    assert penalty.dtype == norms.dtype == torch.float32
    exact = 5 * math.sqrt(12288)
    assert_near(norms.cpu(), torch.full((2,), exact))
    assert_near(penalty.cpu(), torch.tensor(10 * (exact - 1) ** 2))


def quadratic_in_float(x: Tensor) -> Tensor:
    return quadratic(x.float())


@pytest.mark.parametrize("dtype", HALVES)
def test_small_squares_do_not_underflow(dtype: torch.dtype, impl: str) -> None:
    # 2^-14 squared underflows in float16.
    w = torch.full((4096,), 2.0**-14)
    x = torch.zeros(2, 4096, dtype=dtype)
    _, norms = gradient_penalty(lambda x: linear(w)(x.float()), x, x, impl=impl, return_norms=True)
    assert_near(norms, torch.full((2,), 2.0**-8))


@pytest.mark.parametrize("kind", range(3), ids=["float", "tensor", "GradScaler"])
def test_scaled_gradient_does_not_underflow(kind: int, impl: str) -> None:
    # A gradient of 2^-26 underflows in float16, but not if it is computed times 2^14 and unscaled in float32.
    x = torch.randn(3, 4).half()
    first, second = torch.tensor(2.0**-13).half(), torch.tensor(2.0**-13).half()

    def critic(x: Tensor) -> Tensor:
        return (x * first * second).sum(1)

    _, plain = gradient_penalty(critic, x, x, impl=impl, return_norms=True)
    _, scaled = gradient_penalty(critic, x, x, grad_scale=scalers(65536.0)[kind], impl=impl, return_norms=True)
    assert plain.tolist() == [0.0] * 3
    assert_near(scaled * 2.0**25, torch.ones(3))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", range(3), ids=["float", "tensor", "GradScaler"])
def test_float16_scale_changes_no_number(kind: int, scale: float, impl: str) -> None:
    # Scales are powers of two: except for underflow, the scaled computation has the same roundings.
    critic = small_critic()
    real, fake, alpha = torch.randn(8, 6), torch.randn(8, 6), torch.rand(8)
    exact = gradient_penalty(critic, real, fake, alpha=alpha, impl=impl)
    with torch.autocast("cpu", torch.float16):
        scaled, norms = gradient_penalty(
            critic, real, fake, alpha=alpha, grad_scale=scalers(scale)[kind], impl=impl, return_norms=True
        )
    assert scaled.dtype == norms.dtype == torch.float32
    assert scaled.item() == pytest.approx(exact.item(), rel=5e-3)


@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_gives_the_float32_penalty_and_gradient(dtype: torch.dtype, impl: str) -> None:
    critic = small_critic()
    real, fake, alpha = torch.randn(8, 6), torch.randn(8, 6), torch.rand(8)
    exact = gradient_penalty(critic, real, fake, alpha=alpha, impl=impl)
    with torch.autocast("cpu", dtype):
        ours = gradient_penalty(critic, real, fake, alpha=alpha, impl=impl)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(exact.item(), rel=16 * torch.finfo(dtype).eps)
    assert cosine(parameter_grads(critic, ours), parameter_grads(critic, exact)) > 1 - 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", HALVES)
def test_half_module_and_half_samples(dtype: torch.dtype, impl: str) -> None:
    critic = small_critic()
    half = copy.deepcopy(critic).to(dtype)
    real, fake = torch.randn(8, 6).to(dtype), torch.randn(8, 6).to(dtype)
    alpha = torch.rand(8)
    exact = gradient_penalty(critic, real.float(), fake.float(), alpha=alpha, impl=impl)
    ours = gradient_penalty(half, real, fake, alpha=alpha, impl=impl)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(exact.item(), rel=16 * torch.finfo(dtype).eps)


def test_training_step_under_a_grad_scaler(impl: str) -> None:
    # The whole AMP recipe, from GradScaler's default scale, which is halved until the penalty's own gradient fits
    # float16: then the step equals the float32 step up to float16's rounding.
    exact, half = small_critic(), small_critic()
    real, fake, alpha = torch.randn(32, 6), torch.randn(32, 6), torch.rand(32)
    gradient_penalty(exact, real, fake, alpha=alpha, impl=impl).backward()
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    optimizer = torch.optim.SGD(half.parameters(), lr=1.0)
    before = half[0].weight.detach().clone()
    tries = 0
    while torch.equal(half[0].weight, before) and tries < 4:
        tries += 1
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = gradient_penalty(half, real, fake, alpha=alpha, grad_scale=scaler, impl=impl)
        assert torch.isfinite(loss)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 65536.0 / 2 ** (tries - 1)
    grads = [
        [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()] for module in (half, exact)
    ]
    assert cosine(*grads) > 0.9999
    assert_near_in_half(half[0].weight - before, -exact[0].weight.grad)


def assert_near_in_half(actual: Tensor, exact: Tensor) -> None:
    assert (actual - exact).abs().max() < 8 * torch.finfo(torch.float16).eps * exact.abs().max()


def test_disabled_scaler_is_no_scale(impl: str) -> None:
    x = torch.randn(4, 6)
    alpha = torch.rand(4)
    off = torch.amp.GradScaler("cpu", enabled=False)
    critic = small_critic()
    assert torch.equal(
        gradient_penalty(critic, x, -x, alpha=alpha, grad_scale=off, impl=impl),
        gradient_penalty(critic, x, -x, alpha=alpha, impl=impl),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scale_keeps_a_wide_dtype(dtype: torch.dtype, impl: str) -> None:
    critic = small_critic(dtype)
    x = torch.randn(4, 6, dtype=dtype)
    alpha = torch.rand(4)
    ours = gradient_penalty(critic, x, -x, alpha=alpha, grad_scale=65536.0, impl=impl)
    assert ours.dtype == dtype
    assert_near(ours, gradient_penalty(critic, x, -x, alpha=alpha, impl=impl))


@pytest.mark.parametrize(("grad_scale", "error"), [
    (0.0, ValueError),
    (-1.0, ValueError),
    (math.inf, ValueError),
    (math.nan, ValueError),
    (True, TypeError),
    ("65536", TypeError),
    (torch.ones(2), ValueError),
    (torch.tensor(2), ValueError),
])  # fmt: skip
def test_bad_scale_is_an_error(grad_scale: object, error: type[Exception]) -> None:
    x = torch.randn(4, 6)
    with pytest.raises(error, match=r"grad_scale (is|has)"):
        gradient_penalty(quadratic, x, x, grad_scale=grad_scale, impl="reference")


def test_penalty_is_the_same_inside_and_outside_autocast_for_what_is_not_cast(impl: str) -> None:
    # Autocast does not affect elementwise critics, so this tests only the operators' handling of half precision.
    critic: Callable[[Tensor], Tensor] = quadratic
    x = torch.randn(4, 6).half()
    with torch.autocast("cpu", torch.float16):
        inside, norms = gradient_penalty(critic, x, x, points="real", impl=impl, return_norms=True)
    assert inside.dtype == norms.dtype == torch.float32
    assert_near(norms, x.double().norm(dim=1).float())


def test_default_scaler_where_float32_scores_come_of_half_layers() -> None:
    critic = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 1))
    x, y, alpha = torch.randn(8, 6), torch.randn(8, 6), torch.rand(8)
    with torch.autocast("cpu", torch.float16):
        scaled = gradient_penalty(
            lambda x: critic(x).float(), x, y, alpha=alpha, grad_scale=torch.amp.GradScaler("cpu", init_scale=2.0**20)
        )
    assert scaled.item() == pytest.approx(gradient_penalty(critic, x, y, alpha=alpha).item(), rel=2e-2)
