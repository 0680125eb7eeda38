"""Twenty threads, each with its own critic: the numbers of one thread after the other, and torch as it was."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from critics import mlp
from torch import Tensor

import gpgan

THREADS = 20
STEPS = 4


def work(number: int) -> list[Tensor]:
    """Penalties and steps of one critic, and its weights after them; nothing is drawn from a shared generator."""
    rng = torch.Generator().manual_seed(number)
    critic = mlp()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=rng))
    draw = random.Random(number)
    step = gpgan.CriticStep(critic, torch.optim.Adam(critic.parameters(), lr=1e-3))
    settings: dict[str, Any] = {
        "method": draw.choice(["exact", "finite_difference"]),
        "second_order": draw.choice(["pruned", "stock"]),
        "points": draw.choice(["between", "real", "both", "noisy"]),
        "impl": draw.choice(["native", "reference"]),
    }
    found: list[Tensor] = []
    for _ in range(STEPS):
        real, fake = torch.randn(8, 2, generator=rng), torch.randn(8, 2, generator=rng)
        found += [value for value in vars(step(real, fake, generator=rng)).values() if isinstance(value, Tensor)]
        penalty = gpgan.gradient_penalty(critic, real, fake, generator=rng, **settings)
        found += [penalty.detach(), *torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)]
    return [value for value in (*found, *critic.parameters()) if value is not None]


def test_many_threads(tally: Any) -> None:
    torch.set_num_threads(2)
    for round in tally.cases(few=2, many=10):
        numbers = range(round * THREADS, (round + 1) * THREADS)
        alone = [work(number) for number in numbers]
        together = threading.Barrier(THREADS)

        def at_once(number: int, together: threading.Barrier = together) -> list[Tensor]:
            together.wait()
            return work(number)

        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(at_once, numbers))
        for number, mine, its in zip(numbers, found, alone, strict=True):
            same = len(mine) == len(its) and all(map(torch.equal, mine, its))
            tally.held("equal to one thread") if same else tally.fault(number, "other numbers than in one thread")
        assert torch.get_num_threads() == 2
    assert torch.is_grad_enabled()
