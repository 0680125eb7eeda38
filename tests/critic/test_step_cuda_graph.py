"""cuda_graph=True: captured steps equal ordinary ones; without a GPU the plan says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpgan import CriticStep, Penalty
from gpgan.critic.cuda_graph import WARM_UP
from gpgan.nn.spectral import spectral_norm
from gpgan.objectives import get


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))


def smooth() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.LayerNorm(32), nn.Linear(32, 1))


def test_without_a_gpu_it_says_so_and_runs() -> None:
    critic = mlp()
    step = CriticStep(critic, torch.optim.Adam(critic.parameters()), cuda_graph=True)
    assert step(torch.randn(4, 2), torch.randn(4, 2)).penalty is not None
    assert "no CUDA graph: the samples are on cpu" in step.plan


def samples(steps: int, batch: int = 16) -> list[tuple[Tensor, Tensor, Tensor]]:
    rng = torch.Generator("cuda").manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, device="cuda", generator=rng)  # noqa: E731
    return [(draw(batch, 2), draw(batch, 2) + 1, draw(batch).sigmoid()) for _ in range(steps)]


def pair(build: Any, optimizer: Any, **options: Any) -> tuple[CriticStep, CriticStep, list[nn.Module]]:
    first = build().cuda()
    second = copy.deepcopy(first)
    return (
        CriticStep(first, optimizer(first.parameters()), **options),
        CriticStep(second, optimizer(second.parameters()), cuda_graph=True, **options),
        [first, second],
    )


def assert_same(critics: list[nn.Module]) -> None:
    for a, b in zip(critics[0].parameters(), critics[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("build", [mlp, smooth])
@pytest.mark.parametrize("lazy", [1, 2])
@pytest.mark.parametrize(
    "optimizer",
    [lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.5, 0.9)), lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9)],
)
def test_captured_steps_are_the_ordinary_ones(build: Any, lazy: int, optimizer: Any) -> None:
    eager, captured, critics = pair(build, optimizer, lazy=lazy, max_grad_norm=1.0)
    for real, fake, alpha in samples(lazy * (WARM_UP + 4)):
        expected, stats = eager(real, fake, alpha=alpha), captured(real, fake, alpha=alpha)
        torch.testing.assert_close(stats.loss, expected.loss, rtol=1e-4, atol=1e-5)
        assert (stats.penalty is None) == (expected.penalty is None)
    assert "captured" in captured.plan
    assert_same(critics)


def normalised() -> nn.Module:
    return spectral_norm(mlp())


@pytest.mark.gpu
@pytest.mark.parametrize("build", [mlp, smooth, normalised])
def test_captured_steps_of_a_joint_objective_with_both_points_and_clipped_weights(build: Any) -> None:
    torch.manual_seed(0)
    eager, captured, critics = pair(
        build,
        lambda p: torch.optim.Adam(p, lr=1e-2),
        objective=get("relativistic").critic,
        penalty=Penalty(weight=1.0, target=0.0, points="both"),
        max_weight=0.2,
    )
    for real, fake, _ in samples(WARM_UP + 4):
        expected, stats = eager(real, fake), captured(real, fake)
        torch.testing.assert_close(stats.loss, expected.loss, rtol=1e-4, atol=1e-5)
        assert stats.norms is not None
        assert stats.norms.shape == (32,)
    assert "captured" in captured.plan
    assert max(float(p.detach().abs().max()) for p in critics[1].parameters()) == pytest.approx(0.2)
    assert_same(critics)


@pytest.mark.gpu
def test_a_rate_set_later_counts() -> None:
    eager, captured, critics = pair(mlp, lambda p: torch.optim.Adam(p, lr=1e-3))
    for number, (real, fake, alpha) in enumerate(samples(WARM_UP + 6)):
        for step in (eager, captured):
            step.optimizer.param_groups[0]["lr"] = 1e-3 / (1 + number)
            step(real, fake, alpha=alpha)
    assert "captured" in captured.plan
    assert_same(critics)


@pytest.mark.gpu
def test_statistics_of_a_step_outlive_the_next() -> None:
    critic = mlp().cuda()
    step = CriticStep(critic, torch.optim.Adam(critic.parameters()), cuda_graph=True)
    seen = [(stats, stats.loss.clone()) for stats in (step(*pair[:2]) for pair in samples(WARM_UP + 3))]
    assert len({float(loss) for _, loss in seen}) == len(seen)
    assert all(torch.equal(stats.loss, loss) for stats, loss in seen)


@pytest.mark.gpu
def test_points_are_drawn_anew_at_each_replay() -> None:
    critic = mlp().cuda()
    rng = torch.Generator("cuda").manual_seed(0)
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.0), cuda_graph=True)
    real, fake, _ = samples(1)[0]
    norms = [step(real, fake, generator=rng).norms for _ in range(WARM_UP + 4)]
    assert len({tuple(n.tolist()) for n in norms if n is not None}) == len(norms)


@pytest.mark.gpu
def test_a_rate_that_no_graph_can_follow_ends_the_capture() -> None:
    eager, captured, critics = pair(mlp, lambda p: torch.optim.SGD(p, lr=1e-2))
    for number, (real, fake, alpha) in enumerate(samples(WARM_UP + 4)):
        for step in (eager, captured):
            step.optimizer.param_groups[0]["lr"] = 1e-2 if number < WARM_UP + 2 else 5e-3
            step(real, fake, alpha=alpha)
    assert "no CUDA graph: the learning rate of SGD" in captured.plan
    assert_same(critics)
