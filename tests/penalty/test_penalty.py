"""gradient_penalty: its value in closed form, its derivatives, and the effect of each option."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from critics import convolutional, linear, parameter_grads, plain_penalty, quadratic, smooth
from tolerances import assert_near
from torch import Tensor, nn

from gpgan import gradient_penalty

DTYPES = (torch.float32, torch.float64)
SHAPES = ((5,), (5, 2), (5, 3, 7), (5, 3, 8, 8), (3, 2, 4, 4, 4))


def pair(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> list[Tensor]:
    return [torch.randn(shape, dtype=dtype).to(device) for _ in range(2)]


# --- values


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_critic_has_norm_w_everywhere(
    shape: tuple[int, ...], dtype: torch.dtype, impl: str, device: torch.device
) -> None:
    real, fake = pair(shape, dtype, device)
    w = torch.randn(shape[1:], dtype=torch.float64)
    penalty, norms = gradient_penalty(linear(w), real, fake, weight=3.0, impl=impl, return_norms=True)
    norm = w.to(dtype).double().square().sum().sqrt()
    assert_near(norms.cpu(), norm.expand(shape[0]))
    assert_near(penalty.cpu(), 3 * (norm - 1) ** 2)
    assert penalty.dtype == norms.dtype == dtype
    assert penalty.shape == ()


@pytest.mark.parametrize("shape", SHAPES)
def test_quadratic_critic_has_the_norm_of_the_point(shape: tuple[int, ...], impl: str, device: torch.device) -> None:
    real, fake = pair(shape, device=device)
    alpha = torch.rand(shape[0], dtype=torch.float64).to(device)
    penalty, norms = gradient_penalty(quadratic, real, fake, alpha=alpha, impl=impl, return_norms=True)
    column = alpha.reshape(-1, *[1] * (len(shape) - 1))
    exact = (column * real + (1 - column) * fake).reshape(shape[0], -1).norm(dim=1)
    assert_near(norms, exact)
    assert_near(penalty, 10 * (exact - 1).square().mean())


def test_alpha_one_is_real_and_alpha_zero_is_fake(impl: str) -> None:
    real, fake = torch.tensor([[3.0, 4.0]] * 2), torch.tensor([[5.0, 12.0]] * 2)
    _, norms = gradient_penalty(quadratic, real, fake, alpha=torch.tensor([1.0, 0.0]), impl=impl, return_norms=True)
    assert_near(norms, torch.tensor([5.0, 13.0]))


def test_worked_by_hand(impl: str) -> None:
    # Norms 0, 5 and 13: squares of the excess over 1 are 1, 16 and 144.
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [5.0, 12.0]])
    values = {
        reduction: gradient_penalty(quadratic, x, None, points="real", weight=2.0, reduction=reduction, impl=impl)
        for reduction in ("mean", "sum", "none")
    }
    assert_near(values["mean"], torch.tensor(2 * 161 / 3))
    assert_near(values["sum"], torch.tensor(322.0))
    assert_near(values["none"], torch.tensor([2.0, 32.0, 288.0]))


@pytest.mark.parametrize(("target", "one_sided", "expected"), [
    (1.0, True, [0.0, 16.0, 144.0]),
    (5.0, True, [0.0, 0.0, 64.0]),
    (5.0, False, [25.0, 0.0, 64.0]),
    (0.0, False, [0.0, 25.0, 169.0]),
])  # fmt: skip
def test_target_and_one_sided(target: float, one_sided: bool, expected: list[float], impl: str) -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [5.0, 12.0]])
    penalty = gradient_penalty(
        quadratic, x, x, weight=1.0, target=target, one_sided=one_sided, reduction="none", impl=impl
    )
    assert_near(penalty, torch.tensor(expected))


def test_one_sided_leaves_a_lower_norm_without_gradient(impl: str) -> None:
    w = torch.tensor([0.3, 0.4], requires_grad=True)
    x = torch.ones(4, 2)
    gradient_penalty(linear(w), x, x, one_sided=True, impl=impl).backward()
    assert torch.equal(w.grad, torch.zeros(2))
    w.grad = None
    gradient_penalty(linear(w), x, x, impl=impl).backward()
    assert_near(w.grad, 2 * 10 * (0.5 - 1) / 0.5 * w.detach())


def test_linear_critic_gradient_in_closed_form(impl: str, device: torch.device) -> None:
    w = torch.randn(3, 4, 4, dtype=torch.float64, device=device, requires_grad=True)
    real, fake = pair((6, 3, 4, 4), device=device)
    gradient_penalty(linear(w), real, fake, weight=7.0, impl=impl).backward()
    n = w.detach().norm()
    assert_near(w.grad, 2 * 7 * (n - 1) / n * w.detach())


def test_weight_zero_is_zero(impl: str) -> None:
    real, fake = pair((4, 2))
    assert gradient_penalty(quadratic, real, fake, weight=0, impl=impl).item() == 0


# --- derivatives


def with_parameters(critic: nn.Module, values: tuple[Tensor, ...]) -> Callable[[Tensor], Tensor]:
    names = [name for name, _ in critic.named_parameters()]
    return lambda x: torch.func.functional_call(critic, dict(zip(names, values, strict=True)), (x,))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, {"one_sided": True, "target": 0.05}, {"target": 0.0, "weight": 0.5}])
def test_gradcheck_and_gradgradcheck(options: dict[str, object], reduction: str, impl: str) -> None:
    critic = smooth(3)
    real, fake = pair((4, 3))
    alpha = torch.rand(4)

    def penalty(*values: Tensor) -> Tensor:
        return gradient_penalty(
            with_parameters(critic, values), real, fake, alpha=alpha, reduction=reduction, impl=impl, **options
        )

    parameters = tuple(critic.parameters())
    assert penalty(*parameters).abs().max() > 1e-4
    torch.autograd.gradcheck(penalty, parameters, fast_mode=True)
    torch.autograd.gradgradcheck(penalty, parameters, fast_mode=True)


@pytest.mark.parametrize("second_order", ["pruned", "stock"])
def test_parameter_gradients_equal_plain_double_backward(second_order: str, impl: str, device: torch.device) -> None:
    critic = convolutional(3, torch.float64).to(device)
    x = torch.randn(5, 3, 8, 8, dtype=torch.float64).to(device)
    ours = gradient_penalty(critic, x, None, points="real", second_order=second_order, impl=impl)
    plain = plain_penalty(critic, x)
    assert_near(ours, plain)
    for mine, theirs in zip(parameter_grads(critic, ours), parameter_grads(critic, plain), strict=True):
        assert_near(mine, theirs)
    assert sum(g.abs().sum() for g in parameter_grads(critic, gradient_penalty(critic, x, x, impl=impl))) > 0


def test_composes_with_a_loss(impl: str) -> None:
    critic = smooth(2)
    real, fake = pair((6, 2))
    alpha = torch.rand(6)
    loss = critic(fake).mean() - critic(real).mean()
    penalty = gradient_penalty(critic, real, fake, alpha=alpha, impl=impl)
    apart = [a + b for a, b in zip(parameter_grads(critic, loss), parameter_grads(critic, penalty), strict=True)]
    for _ in range(2):
        loss = critic(fake).mean() - critic(real).mean()
        (loss + gradient_penalty(critic, real, fake, alpha=alpha, impl=impl)).backward()
    for parameter, grad in zip(critic.parameters(), apart, strict=True):
        assert_near(parameter.grad, 2 * grad)


# --- points


def test_points_at_real_fake_or_given(impl: str) -> None:
    real, fake, given = (torch.tensor([[a, b]]) for a, b in ((3.0, 4.0), (5.0, 12.0), (8.0, 15.0)))

    def norm(real: Tensor | None, fake: Tensor | None, points: str | Tensor) -> float:
        return gradient_penalty(quadratic, real, fake, points=points, impl=impl, return_norms=True)[1].item()

    assert norm(real, fake, "real") == norm(real, None, "real") == 5
    assert norm(real, fake, "fake") == norm(None, fake, "fake") == 13
    assert norm(real, fake, given) == norm(None, None, given) == 17


def test_given_points_are_copied(impl: str) -> None:
    x = torch.ones(3, 2, requires_grad=True)
    gradient_penalty(quadratic, None, None, points=x, weight=1.0, impl=impl)
    assert x.grad is None
    assert x.is_leaf


def test_noisy_points_lie_between_real_and_its_noise(impl: str) -> None:
    real = torch.randn(2000, 5)
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return quadratic(x)

    gradient_penalty(critic, real, None, points="noisy", impl=impl)
    moved = seen[0] - real
    width = 0.5 * real.std(correction=0)
    assert moved.min() >= -1e-6
    assert moved.max() <= width + 1e-6
    # (1 - alpha) * noise, both uniform, has a mean of a quarter of the width.
    assert moved.mean().item() == pytest.approx(width.item() / 4, rel=0.03)
    # One alpha per sample correlates its elements: E[(1 - alpha)^2] E[u]^2 - (1/4)^2 = 1/48.
    together = torch.cov(moved.T / width).triu(1).sum() / 10
    assert together.item() == pytest.approx(1 / 48, rel=0.2)


# --- return values


def test_return_norms_are_detached(impl: str) -> None:
    critic = smooth(2)
    real, fake = pair((4, 2))
    penalty, norms = gradient_penalty(critic, real, fake, impl=impl, return_norms=True)
    assert norms.shape == (4,)
    assert not norms.requires_grad
    assert penalty.requires_grad
    assert_near(penalty, 10 * (norms - 1).square().mean())


def test_reduction_none_is_one_number_a_sample(impl: str) -> None:
    critic = smooth(2)
    real, fake = pair((4, 2))
    alpha = torch.rand(4)
    each = gradient_penalty(critic, real, fake, alpha=alpha, reduction="none", impl=impl)
    assert each.shape == (4,)
    assert_near(each.mean(), gradient_penalty(critic, real, fake, alpha=alpha, impl=impl))


def test_defaults_are_the_papers() -> None:
    real = torch.ones(4, 3)
    assert gradient_penalty(linear(torch.full((3,), 2.0)), real, real).item() == pytest.approx(
        10 * (2 * math.sqrt(3) - 1) ** 2, rel=1e-6
    )
