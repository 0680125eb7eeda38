"""Runs with a critic of the user's that changes its input in place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from critics import assert_exact
from same_runs import small
from torch import nn

from gpgan.training.trainer import Trainer


@pytest.mark.parametrize("objective", ["wasserstein", "relativistic"])
def test_a_run_with_such_a_critic(tmp_path: Path, objective: str) -> None:
    """The generator's update and the numbers on held-out samples are also those of a critic that works on copies."""
    ends = []
    for in_place in (True, False):
        torch.manual_seed(4)
        critic = nn.Sequential(nn.LeakyReLU(0.2, in_place), nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        task = Trainer(small(tmp_path, "ring", objective=objective), critic=critic).task
        for n in (1, 2, 3):
            task.step(n)
        held_out = torch.tensor([task.held_out(3)["held_out"] for _ in range(2)])
        ends.append([*critic.parameters(), *task.generator.parameters(), held_out])
    assert_exact(*ends, 1e-5)
