"""After the backward of a penalty alone, every parameter that the scores depend on has a gradient, zero where the penalty
does not depend on it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from critics import CRITICS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from gpgan import gradient_penalty


class Around(nn.Module):
    """A layer of [B, ...] between two linear ones."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...] = (8,)) -> None:
        super().__init__()
        self.first, self.layer, self.shape, self.last = nn.Linear(5, 8), layer, shape, nn.LazyLinear(1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(torch.tanh(self.first(x)).view(-1, *self.shape))
        h = h[0] if isinstance(h, tuple) else h
        return self.last(torch.tanh(h).flatten(1))


class By(nn.Module):
    """Parameters of 8 numbers, used by a function of them and the features."""

    def __init__(self, function: Callable[..., Tensor], count: int = 2) -> None:
        super().__init__()
        self.function, self.own = function, nn.ParameterList(torch.randn(8) for _ in range(count))

    def forward(self, h: Tensor) -> Tensor:
        return self.function(h, *self.own)


class Affine(torch.autograd.Function):
    """h * gain + shift, whose backward is a function too, that returns None for the shift."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(h, gain, shift)
        return h * gain + shift

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return AffineGradient.apply(grad, *ctx.saved_tensors)


class AffineGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, h: Tensor, gain: Tensor, shift: Tensor) -> Any:
        ctx.save_for_backward(grad, h, gain)
        return grad * gain, (grad * h).sum(0), grad.sum(0)

    @staticmethod
    def backward(ctx: Any, by_h: Tensor, by_gain: Tensor, by_shift: Tensor) -> Any:
        grad, h, gain = ctx.saved_tensors
        return by_h * gain + by_gain * h + by_shift, by_gain * grad, (by_h * grad).sum(0), None


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value, self.side = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, h: Tensor) -> Tensor:
        return F.layer_norm(torch.sigmoid(self.gate(h)) * self.value(h) + self.side(h), (8,))


class Attention(nn.MultiheadAttention):
    def forward(self, h: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(h, h, h, need_weights=True)[0]


CASES: dict[str, Callable[[], nn.Module]] = {
    "LayerNorm of vectors": lambda: Around(nn.LayerNorm(8)),
    "LayerNorm without bias": lambda: Around(nn.LayerNorm(8, bias=False)),
    "LayerNorm of images": lambda: Around(nn.LayerNorm([2, 2, 2]), (2, 2, 2)),
    "LayerNorm first": lambda: nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 1)),
    "LayerNorm last": lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.LayerNorm(4)),
    "LayerNorm, bias scaled": lambda: Around(By(lambda h, gain, bias: F.layer_norm(h, (8,), gain, 2 * bias))),
    "LayerNorm, bias computed": lambda: Around(By(lambda h, a, b, c: F.layer_norm(h, (8,), a, torch.outer(b, c) @ c), 3)),
    "GroupNorm of vectors": lambda: Around(nn.GroupNorm(2, 8)),
    "GroupNorm of images": lambda: Around(nn.GroupNorm(1, 2), (2, 2, 2)),
    "BatchNorm": lambda: Around(nn.BatchNorm1d(8).eval()),
    "InstanceNorm of vectors": lambda: Around(nn.InstanceNorm1d(2, affine=True), (2, 4)),
    "RMSNorm": lambda: Around(nn.RMSNorm(8)),
    "PReLU": lambda: Around(nn.PReLU(8)),
    "weight_norm of vectors": lambda: Around(parametrizations.weight_norm(nn.Linear(8, 8))),
    "spectral_norm of vectors": lambda: Around(parametrizations.spectral_norm(nn.Linear(8, 8))),
    "convolution": lambda: Around(nn.Sequential(nn.Conv1d(2, 3, 3), nn.GroupNorm(1, 3)), (2, 4)),
    "transposed convolution": lambda: Around(nn.ConvTranspose1d(2, 3, 3), (2, 4)),
    "pooling": lambda: Around(nn.Sequential(nn.MaxPool1d(2), nn.Linear(2, 3)), (2, 4)),
    "GRU": lambda: Around(nn.GRU(4, 3, batch_first=True), (2, 4)),
    "LSTM of vectors": lambda: Around(nn.LSTM(4, 3, batch_first=True), (2, 4)),
    "attention": lambda: Around(Attention(4, 2, batch_first=True), (2, 4)),
    "a residual block": lambda: Around(By(lambda h, a, b: h + F.layer_norm(torch.tanh(h * a), (8,), None, b))),
    "an autograd.Function": lambda: Around(By(Affine.apply)),
    "gates": lambda: Around(Gated()),
    "a shift of the input": lambda: nn.Sequential(By(lambda x, a: x + a[:5], 1), nn.Linear(5, 4), nn.SiLU(), nn.Linear(4, 1)),
    "linear": lambda: nn.Linear(5, 1),
}  # fmt: skip


def build(name: str) -> tuple[nn.Module, Tensor, tuple[Tensor, ...]]:
    if name in CRITICS:
        case = CRITICS[name]
        return case.build().eval(), case.samples()[0], case.args()
    critic, x = CASES[name](), torch.randn(4, 5, dtype=torch.float64)
    critic(x.float())
    return critic.double().eval(), x, ()  # spectral_norm does not change its buffers then


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CRITICS | CASES)
@pytest.mark.parametrize("method", ["exact", "finite_difference"])
def test_every_parameter_has_a_gradient(name: str, method: str) -> None:
    critic, x, args = build(name)
    parameters = list(critic.parameters())
    behind = torch.autograd.grad(critic(x, *args).sum(), parameters, allow_unused=True)
    options: dict[str, Any] = {"points": x, "critic_args": args}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        gradient_penalty(critic, None, None, method=method, **options).backward()
        stock = gradient_penalty(critic, None, None, second_order="stock", **options)
    expected = torch.autograd.grad(stock, parameters, allow_unused=True)
    tolerance = 1e-9 if method == "exact" else 1e-5
    for parameter, score, value in zip(parameters, behind, expected, strict=True):
        assert (parameter.grad is None) == (score is None)
        if score is not None:
            value = torch.zeros_like(parameter) if value is None else value
            torch.testing.assert_close(parameter.grad, value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["LayerNorm of vectors", "GroupNorm of vectors", "linear"])
def test_autograd_grad_finds_them_too(name: str) -> None:
    critic, x, _ = build(name)
    gradients = torch.autograd.grad(gradient_penalty(critic, None, None, points=x), list(critic.parameters()))
    assert all(gradient is not None for gradient in gradients)


def test_weight_decay_reaches_a_parameter_without_effect_on_the_penalty() -> None:
    critic, x, _ = build("LayerNorm last")
    bias = critic[2].bias
    torch.nn.init.ones_(bias)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1, weight_decay=0.5)
    gradient_penalty(critic, None, None, points=x).backward()
    optimizer.step()
    torch.testing.assert_close(bias.detach(), torch.full_like(bias, 0.95))
