"""Known bugs of published gradient penalties: each test checks a number that one of these bugs gets wrong."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
import torch
from critics import convolutional, linear, parameter_grads, quadratic, smooth
from tolerances import assert_near
from torch import Tensor, nn

from gpgan import gradient_penalty

# --- the norm


def test_norm_is_over_the_sample_not_over_its_channels(impl: str) -> None:
    # True norm 1 on 3x32x32. The norm over dim 1 is 1/32 at each of 1024 places, scoring (1/32 - 1)^2 = 0.94.
    w = torch.full((3, 32, 32), 1 / math.sqrt(3 * 32 * 32))
    x = torch.randn(4, 3, 32, 32)
    assert gradient_penalty(linear(w), x, -x, weight=1.0, impl=impl).item() == pytest.approx(0, abs=1e-10)


def test_norm_is_not_over_the_whole_batch(impl: str) -> None:
    # Eight gradients of norm 1 have a joint norm of sqrt(8), which scores (sqrt(8) - 1)^2 = 3.34.
    x = torch.randn(8, 16)
    _, norms = gradient_penalty(linear(torch.full((16,), 0.25)), x, -x, impl=impl, return_norms=True)
    assert torch.equal(norms, torch.ones(8))
    assert gradient_penalty(linear(torch.full((16,), 0.25)), x, -x, weight=1.0, impl=impl).item() == 0


@pytest.mark.parametrize("batch", [1, 2, 8, 33])
def test_mean_does_not_depend_on_the_batch_size_nor_norms_on_it(batch: int, impl: str) -> None:
    # A sum over the batch scales with B. If scores are averaged before differentiating, every norm is divided by B.
    x = torch.zeros(batch, 2)
    penalty, norms = gradient_penalty(linear(torch.tensor([3.0, 4.0])), x, x, impl=impl, return_norms=True)
    assert norms.tolist() == [5.0] * batch
    assert penalty.item() == pytest.approx(160, rel=1e-6)
    total = gradient_penalty(linear(torch.tensor([3.0, 4.0])), x, x, reduction="sum", impl=impl)
    assert total.item() == pytest.approx(160 * batch, rel=1e-6)


@pytest.mark.parametrize("average", [torch.mean, torch.sum, lambda scores: scores.mean(0, keepdim=True)])
def test_averaged_output_is_an_error(average: Callable[[Tensor], Tensor], impl: str) -> None:
    x = torch.randn(8, 2)
    with pytest.raises(ValueError, match=r"critic returned shape .* for 8 samples"):
        gradient_penalty(lambda x: average(quadratic(x)), x, x, impl=impl)


def test_flat_critic_has_no_nan(impl: str) -> None:
    # All ReLUs are dead: the gradient is exactly zero, where the derivative of sqrt(sum(g * g)) is infinite.
    critic = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    nn.init.constant_(critic[0].bias, -100.0)
    x = torch.randn(6, 3)
    penalty, norms = gradient_penalty(critic, x, -x, impl=impl, return_norms=True)
    assert norms.tolist() == [0.0] * 6
    assert penalty.item() == 10
    penalty.backward()
    for parameter in critic.parameters():
        assert parameter.grad is None or torch.equal(parameter.grad, torch.zeros_like(parameter))


def test_one_flat_sample_leaves_the_others_their_gradient(impl: str) -> None:
    w = torch.tensor([2.0], requires_grad=True)
    x = torch.tensor([[0.0], [3.0]])
    gradient_penalty(lambda x: (w * x.square()).sum(1), x, x, weight=1.0, impl=impl).backward()
    # Norms 0 and 2 w x = 12; d/dw mean((2 w x - 1)^2) = (12 - 1) * 2 x = 66.
    assert w.grad.item() == pytest.approx(66)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["real", "fake"])
def test_nan_and_inf_in_the_data_reach_the_penalty(bad: float, where: str, impl: str) -> None:
    data = {"real": torch.randn(4, 3), "fake": torch.randn(4, 3)}
    data[where][1, 2] = bad
    options = {"alpha": torch.full((4,), 0.5), "impl": impl}
    each, norms = gradient_penalty(quadratic, **data, reduction="none", return_norms=True, **options)
    assert torch.isfinite(each).tolist() == torch.isfinite(norms).tolist() == [True, False, True, True]
    assert not math.isfinite(gradient_penalty(quadratic, **data, **options).item())
    assert not math.isfinite(gradient_penalty(quadratic, **data, one_sided=True, **options).item())
    assert math.isnan(each[1].item()) == math.isnan(bad)


@pytest.mark.parametrize("method", ["exact", "finite_difference"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.SiLU])
def test_nan_reaches_the_penalty_through_every_activation(activation: type[nn.Module], method: str, impl: str) -> None:
    # The slope of a LeakyReLU is finite at NaN, so that the gradient of NaN samples may be finite as well.
    critic = nn.Sequential(nn.Linear(3, 16), activation(), nn.Linear(16, 1))
    x = torch.randn(4, 3)
    x[1, 2] = math.nan
    each, norms = gradient_penalty(
        critic, x, x, alpha=torch.ones(4), method=method, impl=impl, reduction="none", return_norms=True
    )
    assert each.isnan().tolist() == norms.isnan().tolist() == [False, True, False, False]


# --- alpha


def alphas(shape: tuple[int, ...], impl: str, **options: object) -> Tensor:
    """The alpha of every element, read from samples of ones and zeros."""
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return quadratic(x)

    gradient_penalty(critic, torch.ones(shape), torch.zeros(shape), impl=impl, **options)
    return seen[0]


def test_one_alpha_a_sample(impl: str) -> None:
    x = alphas((50, 3, 4, 4), impl)
    first = x[:, 0, 0, 0]
    assert torch.equal(x, first.reshape(-1, 1, 1, 1).expand_as(x))
    assert first.unique().numel() == 50


def test_alpha_is_uniform(impl: str) -> None:
    x = alphas((4000, 1), impl).flatten().sort().values
    assert x[0] >= 0
    assert x[-1] <= 1
    # Kolmogorov-Smirnov: a uniform sample is below 1.95 / sqrt(n) in 999 of 1000 cases. The seed is fixed.
    even = (torch.arange(4000) + 0.5) / 4000
    assert (x - even).abs().max() < 1.95 / math.sqrt(4000)


def test_generator_decides_alpha_and_leaves_the_global_one_alone(impl: str) -> None:
    before = torch.get_rng_state()
    first, second, other = (alphas((9, 2), impl, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    alphas((9, 2), impl, alpha=torch.rand(9, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(torch.get_rng_state(), before)
    noisy = [
        gradient_penalty(
            quadratic, first, None, points="noisy", generator=torch.Generator().manual_seed(5), impl=impl
        ).item()
        for _ in range(2)
    ]
    assert noisy[0] == noisy[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_seed_decides_and_both_draw_alike() -> None:
    draws = []
    for impl in ("native", "reference", "reference"):
        torch.manual_seed(11)
        draws.append(alphas((9, 2), impl))
    assert torch.equal(draws[1], draws[2])
    assert_near(draws[0], draws[1])


# --- the generator's graph


@pytest.mark.parametrize("points", ["between", "fake", "noisy", "given"])
def test_generator_is_never_walked(points: str, impl: str) -> None:
    generator, critic = smooth(2, torch.float32), nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    calls: list[int] = []
    fake = generator(torch.randn(6, 2))
    fake.register_hook(lambda grad: calls.append(1))
    generator.register_full_backward_hook(lambda *_: calls.append(1))
    real = torch.randn(6, 1)
    if points == "noisy":
        penalty = gradient_penalty(critic, fake, None, points="noisy", impl=impl)
    else:
        penalty = gradient_penalty(critic, real, fake, points=fake if points == "given" else points, impl=impl)
    penalty.backward()
    assert calls == []
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert critic[0].weight.grad.abs().sum() > 0
    assert fake.requires_grad
    # The generator's own step still has its graph.
    critic(fake).mean().backward()
    assert len(calls) == 1
    assert all(parameter.grad is not None for parameter in generator.parameters())


# --- ranks and batches


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 3), (4, 1, 6, 7), (4, 2, 3, 4, 5), (7, 3, 2, 2)])
def test_any_rank_and_a_last_partial_batch(shape: tuple[int, ...], impl: str, device: torch.device) -> None:
    inner = smooth(math.prod(shape[1:])).to(device)

    def critic(x: Tensor) -> Tensor:
        return inner(x.reshape(len(x), -1))

    real, fake = (torch.randn(shape, dtype=torch.float64).to(device) for _ in range(2))
    alpha = torch.rand(shape[0]).to(device)
    whole = gradient_penalty(critic, real, fake, alpha=alpha, impl=impl, reduction="none")
    part = gradient_penalty(critic, real[:3], fake[:3], alpha=alpha[:3], impl=impl, reduction="none")
    assert_near(part, whole[:3])


def test_batch_of_one(impl: str) -> None:
    critic = convolutional(3, torch.float64)
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    penalty, norms = gradient_penalty(critic, x, -x, impl=impl, return_norms=True)
    assert_near(penalty, 10 * (norms[0] - 1) ** 2)
    assert all(torch.isfinite(g).all() for g in parameter_grads(critic, penalty))


def test_empty_batch_is_an_error(impl: str) -> None:
    x = torch.zeros(0, 3)
    with pytest.raises(ValueError, match=r"real has shape \(0, 3\).*empty batch"):
        gradient_penalty(quadratic, x, x, impl=impl)


# --- grad mode


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_mode_off_is_an_error_that_names_it(mode: Callable[[], torch.no_grad], impl: str) -> None:
    x = torch.randn(4, 3)
    with mode(), pytest.raises(RuntimeError, match=f"grad mode off .torch.{mode.__name__}"):
        gradient_penalty(smooth(3, torch.float32), x, x, impl=impl)


def test_enable_grad_inside_no_grad_is_enough(impl: str) -> None:
    x = torch.randn(4, 3)
    with torch.no_grad(), torch.enable_grad():
        penalty = gradient_penalty(smooth(3, torch.float32), x, x, impl=impl)
    assert penalty.requires_grad


def test_inference_mode_is_named_though_grad_is_enabled_inside(impl: str) -> None:
    # Inference mode records nothing, even with grad mode on.
    x = torch.randn(4, 3)
    with torch.inference_mode(), torch.enable_grad(), pytest.raises(RuntimeError, match="inference_mode"):
        gradient_penalty(smooth(3, torch.float32), x, x, impl=impl)


@pytest.mark.parametrize("points", ["between", "real", "fake", "noisy", "given"])
def test_inference_tensors_work_outside_inference_mode(points: str, impl: str) -> None:
    with torch.inference_mode():
        real, fake = torch.randn(4, 3), torch.randn(4, 3)
    critic = smooth(3, torch.float32)
    alpha = torch.rand(4)

    def penalty(real: Tensor, fake: Tensor) -> Tensor:
        torch.manual_seed(2)
        return gradient_penalty(critic, real, fake, points=real if points == "given" else points, impl=impl)

    ours = penalty(real, fake)
    usual = penalty(torch.tensor(real.numpy()), torch.tensor(fake.numpy()))
    assert torch.equal(ours, usual)
    assert sum(g.abs().sum() for g in parameter_grads(critic, ours)) > 0
    with torch.inference_mode():
        alpha = torch.rand(4)
    assert gradient_penalty(critic, real, fake, alpha=alpha, impl=impl).requires_grad


# --- a critic that ignores its input


@pytest.mark.parametrize("critic", [
    lambda x: torch.zeros(len(x)),
    lambda x: torch.zeros(len(x), requires_grad=True) * 2,
    lambda x: quadratic(x.detach()),
    lambda x: quadratic(x.clone().detach().requires_grad_()),
    torch.no_grad()(quadratic),
], ids=["constant", "parameter", "detached", "another tensor", "no_grad"])  # fmt: skip
def test_critic_that_ignores_its_input_is_an_error(critic: Callable[[Tensor], Tensor], impl: str) -> None:
    x = torch.randn(4, 3)
    with pytest.raises(ValueError, match="critic's scores do not depend on its input"):
        gradient_penalty(critic, x, x, impl=impl)


# --- shared state


def test_two_threads_do_not_see_each_other(impl: str) -> None:
    results: dict[int, float] = {}

    def work(scale: int) -> None:
        x = torch.full((4, 1), float(scale))
        results[scale] = gradient_penalty(quadratic, x, x, weight=1.0, impl=impl).item()

    threads = [threading.Thread(target=work, args=(scale,)) for scale in (2, 3, 4, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {2: 1.0, 3: 4.0, 4: 9.0, 5: 16.0}


def test_import_prints_nothing_and_draws_no_random_number() -> None:
    code = "import torch; s = torch.get_rng_state(); import gpgan; assert torch.equal(s, torch.get_rng_state())"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_that_overlap_leave_compilation_on() -> None:
    """torch.compile's stance is process-wide: the first thread to leave must not end it, the last must end it."""
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first(x: Tensor) -> Tensor:
        first_is_in.set()
        assert second_is_in.wait(10)
        return x.sum(1)

    def second(x: Tensor) -> Tensor:
        second_is_in.set()
        assert first_is_out.wait(10)
        return x.sum(1)

    def run_first() -> None:
        gradient_penalty(first, None, None, points=torch.randn(2, 3))
        first_is_out.set()

    thread = threading.Thread(target=run_first)
    thread.start()
    assert first_is_in.wait(10)
    gradient_penalty(second, None, None, points=torch.randn(2, 3))
    thread.join()
    seen = []
    torch.compile(lambda x: x * 2, backend=lambda graph, inputs: seen.append(graph) or graph.forward)(torch.randn(3))
    assert len(seen) == 1
