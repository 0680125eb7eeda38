"""On a CPU, a small step runs on one thread, a large one on all, and the number of threads is restored."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gpgan import CriticStep


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
