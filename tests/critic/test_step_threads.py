"""On a CPU, a small step runs on one thread, a large one on all, and the number of threads is restored."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from gpgan import CriticStep, Penalty


@pytest.mark.parametrize(("width", "batch", "inside"), [(8, 4, 1), (256, 128, 2)])
@pytest.mark.parametrize("function", [False, True])
def test_threads_of_a_step(width: int, batch: int, inside: int, function: bool) -> None:
    torch.set_num_threads(2)
    critic = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
    seen: list[int] = []
    critic.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    step = CriticStep((lambda x: critic(x)) if function else critic, torch.optim.SGD(critic.parameters(), lr=0.1))
    real = torch.randn(batch, 2)
    step(real, -real)  # its operations are counted here
    seen.clear()
    step(real, -real)
    assert set(seen) == {inside}
    assert torch.get_num_threads() == 2
    assert ("one CPU thread" in step.plan) == (inside == 1)


def test_the_number_is_put_back_where_a_step_fails() -> None:
    torch.set_num_threads(2)
    critic = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1))
    real = torch.randn(4, 2)
    step(real, -real)
    critic[0] = nn.Linear(3, 8)
    with pytest.raises(RuntimeError):
        step(real, -real)
    assert torch.get_num_threads() == 2


def process_wide() -> dict[str, Any]:
    """Torch's numbers and switches that all threads share, and the number of threads that a new thread uses."""
    with ThreadPoolExecutor(1) as pool:
        new = pool.submit(torch.get_num_threads).result()
    return {
        "threads": torch.get_num_threads(),
        "threads of a new thread": new,
        "random numbers": torch.get_rng_state().tolist(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings": list(warnings.filters),
        "compiled": torch.compile(lambda x: torch.compiler.is_compiling(), backend="eager")(torch.ones(1)),
    }


@pytest.mark.parametrize("kind", ["scheduled", "general", "finite differences"])
def test_many_threads_leave_everything_as_it_was(kind: str) -> None:
    torch.set_num_threads(2)
    method = "finite_difference" if kind == "finite differences" else "exact"
    activation = nn.ReLU() if kind == "scheduled" else nn.Tanh()
    critics = [nn.Sequential(nn.Linear(2, 8), activation, nn.Linear(8, 1)) for _ in range(20)]
    real = torch.randn(4, 2)
    together = threading.Barrier(len(critics))

    def work(critic: nn.Module) -> set[int]:
        step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.1), penalty=Penalty(method=method))
        together.wait()
        seen = set()
        for i in range(10):
            step(real, -real, generator=torch.Generator().manual_seed(i))
            seen.add(torch.get_num_threads())
        assert "one CPU thread" not in step.plan
        return seen

    before = process_wide()
    with ThreadPoolExecutor(len(critics)) as pool:
        seen = list(pool.map(work, critics))
    assert process_wide() == before
    assert seen == [{2}] * len(critics)
