"""Gradients averaged over processes equal those of one process with the joint batch."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from critics import CRITICS, assert_exact
from script_step import sgd
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from gpgan import CriticStep, Penalty
from gpgan.objectives import get

# A critic, and whether it is wrapped in DistributedDataParallel, which averages gradients itself.
CASES = (("MLP", False), ("GroupNorm", False), ("GroupNorm", True))
OPTIONS: dict[str, Any] = {
    "max_grad_norm": 0.5,
    "objective": get("relativistic").critic,
    "penalty": Penalty(weight=1.0, target=0.0, points="both"),
}


def joint(name: str) -> tuple[Tensor, Tensor, Tensor]:
    shape = (8, *CRITICS[name].shape[1:])
    rng = torch.Generator().manual_seed(9)
    real, fake = (torch.randn(shape, dtype=torch.float64, generator=rng) for _ in range(2))
    return real, fake, torch.rand(8, dtype=torch.float64, generator=rng)


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    wait = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=wait)
    try:
        for name, wrapped in CASES:
            critic = CRITICS[name].build()
            how = {} if wrapped else {"process_group": dist.group.WORLD}
            given = DistributedDataParallel(critic) if wrapped else critic
            step = CriticStep(given, sgd(critic.parameters()), **how, **OPTIONS)
            for _ in range(2):
                real, fake, alpha = (t[4 * rank : 4 * rank + 4] for t in joint(name))
                step(real, fake, alpha=alpha)
            torch.save([p.detach() for p in critic.parameters()], f"{folder}/{name} {wrapped} {rank}")
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_are_one_with_the_joint_batch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (folder,), nprocs=2)
        for name, wrapped in CASES:
            critic = CRITICS[name].build()
            step = CriticStep(critic, sgd(critic.parameters()), **OPTIONS)
            first = [p.detach().clone() for p in critic.parameters()]
            for _ in range(2):
                real, fake, alpha = joint(name)
                step(real, fake, alpha=alpha)
            ranks = [torch.load(Path(folder) / f"{name} {wrapped} {rank}", weights_only=True) for rank in (0, 1)]
            assert all(torch.equal(a, b) for a, b in zip(*ranks, strict=True))
            assert not torch.equal(first[0], ranks[0][0])
            assert_exact(ranks[0], list(critic.parameters()))
