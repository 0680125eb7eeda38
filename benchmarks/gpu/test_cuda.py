"""What only a GPU can test: the penalty in a CUDA graph, and the same bits in every run. Part of check.sh."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gpgan
from gpgan import ops

pytestmark = pytest.mark.gpu

# A row length in each regime of csrc/cuda/reduce.cuh, and an odd one.
SHAPES = ((1000, 784), (300, 3, 32, 32), (5, 3, 128, 128), (7, 50001))


@pytest.fixture(autouse=True)
def _exact_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    torch.manual_seed(0)


def make_critic() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(16 * 16 * 16, 1)
    ).cuda()


def test_graph_replays_the_penalty_and_its_backward_on_fresh_data() -> None:
    critic = make_critic()
    parameters = list(critic.parameters())
    shape = (64, 3, 32, 32)
    real, fake = torch.empty(shape, device="cuda"), torch.empty(shape, device="cuda")
    alpha = torch.empty(shape[0], device="cuda")

    def refill() -> None:
        real.normal_()
        fake.normal_()
        alpha.uniform_()

    def step() -> list[Tensor]:
        penalty, norms = gpgan.gradient_penalty(
            critic, real, fake, alpha=alpha, impl="native", second_order="stock", return_norms=True
        )
        grads = torch.autograd.grad(penalty, parameters, allow_unused=True)
        return [penalty.detach(), norms, *(g for g in grads if g is not None)]

    refill()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()

    penalties = set()
    for _ in range(3):
        refill()
        for result in results:
            result.fill_(float("nan"))
        graph.replay()
        torch.cuda.synchronize()
        replayed = [result.clone() for result in results]
        for got, expected in zip(replayed, step(), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
        penalties.add(float(replayed[0]))
    assert len(penalties) == 3  # each replay used new data


def operations(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    real, fake, grads = (torch.randn(shape, device="cuda").to(dtype) for _ in range(3))
    alpha = torch.rand(shape[0], device="cuda", dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    leaves = [value.clone().requires_grad_() for value in (real, fake, alpha)]
    leaf = grads.clone().requires_grad_()

    def interpolate() -> tuple[Tensor, ...]:
        x = ops.interpolate(*leaves)
        return x.detach(), *torch.autograd.grad(x, leaves, grads)

    def penalty() -> tuple[Tensor, ...]:
        value, norms = ops.gradient_norm_penalty(leaf)
        return value.detach(), norms.detach(), *torch.autograd.grad(value + norms.sum(), leaf)

    return {
        "interpolate": interpolate,
        "penalty": penalty,
        "one_pass": lambda: ops.gradient_norm_penalty_with_direction(grads),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_same_bits_in_every_run(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    noise = torch.empty(1 << 26, device="cuda")
    busy = torch.cuda.Stream()
    for name, call in operations(shape, dtype).items():
        first = call()
        for _ in range(20):
            with torch.cuda.stream(busy):
                noise.normal_()  # varies how blocks are scheduled
            for got, expected in zip(call(), first, strict=True):
                assert torch.equal(got, expected), name
    torch.cuda.synchronize()
