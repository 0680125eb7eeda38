"""Floating-point operations of a penalised critic step, in units of one forward of the critic over a batch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from critics import PaperResNet, dcgan, operations, pool_by_average, pool_by_slices
from torch import nn

from gpgan import gradient_penalty


def wide_mlp() -> nn.Module:
    sizes = [2, 512, 512, 512]
    layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.LeakyReLU(0.2))]
    return nn.Sequential(*layers, nn.Linear(512, 1))


# A critic, the shape of a batch, the pruned step's upper limit and the stock step's lower limit.
CRITICS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float, float]] = {
    "MLP": (wide_mlp, (16, 2), 10.01, 11.98),
    "DCGAN": (lambda: dcgan(32, 4, 64), (1, 3, 64, 64), 9.90, 11.87),
    "ResNet, average pooling": (lambda: PaperResNet(16, pool_by_average), (2, 3, 32, 32), 10.1, 11.8),
    "ResNet, slices": (lambda: PaperResNet(16, pool_by_slices), (2, 3, 32, 32), 10.1, 11.8),
}


@pytest.mark.parametrize("name", CRITICS)
def test_operations_of_a_penalised_step(name: str) -> None:
    make, shape, most, least = CRITICS[name]
    critic = make()
    real, fake = torch.randn(shape), torch.randn(shape)

    def step(second_order: str) -> None:
        penalty = gradient_penalty(critic, real, fake, second_order=second_order)
        (critic(fake).mean() - critic(real).mean() + penalty).backward()

    with torch.no_grad():
        forward = operations(lambda: critic(real))
    assert operations(lambda: step("stock")) >= least * forward
    assert operations(lambda: step("pruned")) <= most * forward
