"""Finite differences of a critic whose backward is not the derivative of its forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpgan import gradient_penalty


class Scaled(torch.autograd.Function):
    """The identity; its backward multiplies by a factor, -1 for gradient reversal."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


class Critic(nn.Module):
    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(6, 16), nn.Linear(16, 1), between

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(torch.tanh(self.first(x))))


class Counting(Critic):
    """A state that is no buffer: the scores grow at every call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 + 0.1 * self.calls)


def statistics_without_gradient(h: Tensor) -> Tensor:
    with torch.no_grad():
        mean, deviation = h.mean(1, keepdim=True), h.std(1, keepdim=True)
    return (h - mean) / deviation


def straight_through(h: Tensor) -> Tensor:
    return h + ((4 * h).round() / 4 - h).detach()


UNTRUE = {
    "gradient reversal": lambda: Critic(lambda h: Scaled.apply(h, -1.0)),
    "gradient scaling": lambda: Critic(lambda h: Scaled.apply(h, 0.5)),
    "a detached factor": lambda: Critic(lambda h: h * (1 + h.sum(1, keepdim=True)).sigmoid().detach()),
    "statistics under no_grad": lambda: Critic(statistics_without_gradient),
    "straight-through rounding": lambda: Critic(straight_through),
    "a state that is no buffer": lambda: Counting(lambda h: h),
}
TRUE = {
    "plain": lambda: Critic(lambda h: h),
    "a factor of one": lambda: Critic(lambda h: Scaled.apply(h, 1.0)),
    "dropout": lambda: Critic(nn.Dropout(0.5)),
    "ELU": lambda: Critic(nn.ELU()),
}


def penalise(critic: nn.Module, dtype: torch.dtype, **options: Any) -> Tensor:
    real, fake = torch.randn(2, 32, 6, dtype=dtype, generator=torch.Generator().manual_seed(3))
    return gradient_penalty(critic, real, fake, method="finite_difference", **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("name", UNTRUE)
def test_is_refused(name: str, coupled: bool, dtype: torch.dtype) -> None:
    critic = UNTRUE[name]().to(dtype)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"backward is not the derivative of its forward.*relative error"):
            penalise(critic, dtype, allow_batch_coupling=coupled)


def test_a_small_difference_is_refused_in_float64() -> None:
    critic = Critic(lambda h: Scaled.apply(h, 0.999)).double()
    with pytest.raises(RuntimeError, match=r"relative error of 0\.001"):
        penalise(critic, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("name", TRUE)
def test_is_accepted_where_they_agree(name: str, coupled: bool, dtype: torch.dtype) -> None:
    critic = TRUE[name]().to(dtype)
    for _ in range(5):
        assert penalise(critic, dtype, allow_batch_coupling=coupled).isfinite()
