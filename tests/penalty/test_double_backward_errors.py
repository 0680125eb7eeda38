"""Critics without a double backward: the error is raised at once and names the operator and the cure."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from critics import parameter_grads, quadratic, smooth
from tolerances import assert_near
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from gpgan import gradient_penalty
from gpgan.penalty import failures

OTHERWISE = r'pass method="finite_difference"'


class Attention(nn.Module):
    """Sequences [B, T, 4] to scores [B] through PyTorch's fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.score = nn.Linear(4, 12), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (t.unsqueeze(1) for t in self.project(x).chunk(3, -1))
        return self.score(F.scaled_dot_product_attention(query, key, value)).sum((1, 2, 3))


class Sine(torch.autograd.Function):
    """An operator that is marked once_differentiable."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        return grad * ctx.saved_tensors[0].cos()


class WithSine(nn.Module):
    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(Sine.apply(self.first(x)))


@pytest.fixture(params=["pruned", "stock"])
def second_order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_fused_attention_is_named_with_both_cures(second_order: str, impl: str) -> None:
    critic, x = Attention(), torch.randn(3, 5, 4)
    with pytest.raises(RuntimeError, match="scaled_dot_product_flash_attention_for_cpu_backward") as raised:
        gradient_penalty(critic, x, -x, second_order=second_order, impl=impl)
    assert "torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)" in str(raised.value)
    assert 'pass method="finite_difference"' in str(raised.value)
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_the_cure_for_attention_works(second_order: str) -> None:
    critic, x = Attention().double(), torch.randn(3, 5, 4, dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):
        penalty = gradient_penalty(critic, x, -x, second_order=second_order)
    assert all(grad.abs().sum() > 0 for grad in parameter_grads(critic, penalty)[:1])


@pytest.mark.parametrize("last", [nn.Linear(4, 1), nn.Flatten()], ids=["raises in backward", "is silent in backward"])
def test_once_differentiable_function_is_named(last: nn.Module, second_order: str) -> None:
    # If only a sum follows, PyTorch silently loses its part of the second derivative.
    x = torch.randn(5, 3)
    with pytest.raises(RuntimeError, match=rf"Sine \(marked once_differentiable\) has no derivative; {OTHERWISE}"):
        gradient_penalty(WithSine(last), x, -x, second_order=second_order)


def test_once_differentiable_function_with_the_name_of_one_of_gpgans_own() -> None:
    own = type("_Convolution", (Sine,), {})
    net, x = nn.Linear(3, 4), torch.randn(5, 3)
    with pytest.raises(RuntimeError, match=r"marked once_differentiable"):
        gradient_penalty(lambda x: own.apply(net(x)), x, -x)


def test_once_differentiable_function_that_x_does_not_pass_is_none_of_the_critics() -> None:
    critic, x, w = smooth(3, torch.float32), torch.randn(5, 3), torch.ones(5, requires_grad=True)
    penalty = gradient_penalty(lambda x: critic(x).squeeze(1) + Sine.apply(w), x, -x)
    penalty.backward()
    assert critic[0].weight.grad.abs().sum() > 0


def test_operator_without_a_cure_of_its_own_offers_the_other_method(second_order: str) -> None:
    x, y = torch.randn(5, 3), torch.randn(1, 3)
    with pytest.raises(RuntimeError, match=rf"aten::_cdist_backward has no derivative; {OTHERWISE}"):
        gradient_penalty(lambda x: torch.cdist(x, y, p=1.5).square(), x, -x, second_order=second_order)


@pytest.mark.gpu
def test_cudnn_lstm_is_named_with_both_cures(second_order: str) -> None:
    lstm = nn.LSTM(3, 4, batch_first=True).cuda()
    x = torch.randn(5, 6, 3, device="cuda")
    with pytest.raises(RuntimeError, match=rf"_cudnn_rnn_backward .*cudnn.flags\(enabled=False\), or {OTHERWISE}"):
        gradient_penalty(lambda x: lstm(x)[0][:, -1], x, -x, second_order=second_order)
    with torch.backends.cudnn.flags(enabled=False):
        gradient_penalty(lambda x: lstm(x)[0][:, -1], x, -x, second_order=second_order).backward()


def test_a_cudnn_rnns_node_is_known_by_its_name() -> None:
    # Without a GPU there is no such node; one of the same name replaces it.
    node = type("CudnnRnnBackwardBackward0", (), {})()
    x = torch.randn(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=rf"aten::_cudnn_rnn_backward .*flags\(enabled=False\), or {OTHERWISE}"):
        failures.refuse_failing([node], [], x)


def test_reentrant_checkpoint_is_explained(second_order: str) -> None:
    body, x = smooth(3, torch.float32), torch.randn(5, 3)
    with pytest.raises(RuntimeError, match=rf"use_reentrant=True.*pass use_reentrant=False.*{OTHERWISE}"):
        gradient_penalty(lambda x: checkpoint(body, x, use_reentrant=True), x, -x, second_order=second_order)


def test_other_errors_of_the_first_derivative_pass_through(second_order: str) -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
            return x.square()

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
            raise RuntimeError("from the critic's backward")

    x = torch.randn(5, 3)
    with pytest.raises(RuntimeError, match=r"^from the critic's backward$"):
        gradient_penalty(lambda x: Broken.apply(x).sum(1), x, -x, second_order=second_order)


def test_a_compiled_critic_in_a_closure_has_its_double_backward(second_order: str) -> None:
    critic = smooth(3)
    x, alpha = torch.randn(5, 3, dtype=torch.float64), torch.rand(5)
    compiled = torch.compile(critic, backend="aot_eager")
    compiled(x).sum().backward()
    hidden, plain = (
        parameter_grads(critic, gradient_penalty(f, x, -x, alpha=alpha, second_order=second_order))
        for f in (lambda x: compiled(x), critic)
    )
    for got, wanted in zip(hidden, plain, strict=True):
        assert_near(got, wanted)


@pytest.mark.parametrize(
    "critic", [smooth(3, torch.float32), quadratic, nn.GRU(3, 2, batch_first=True)], ids=["MLP", "function", "GRU"]
)
def test_critics_with_a_double_backward_pass(critic: Callable[[Tensor], Tensor], second_order: str) -> None:
    x = torch.randn(5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_penalty(
            (lambda x: critic(x[:, None])[0][..., 0]) if isinstance(critic, nn.GRU) else critic,
            x,
            -x,
            second_order=second_order,
        )
