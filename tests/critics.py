"""Critics with known gradients, and the penalty written plainly: what gradient_penalty is held against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def linear(w: Tensor) -> Callable[[Tensor], Tensor]:
    """f(x) = w . x over all elements of a sample: the gradient is w everywhere, its norm |w|."""
    return lambda x: (x * w.to(x)).unsqueeze(-1).flatten(1).sum(1)


def quadratic(x: Tensor) -> Tensor:
    """f(x) = |x|^2 / 2: the gradient is x itself."""
    return x.square().unsqueeze(-1).flatten(1).sum(1) / 2


def smooth(features: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> nn.Sequential:
    """A small critic with derivatives of every order."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(features, 7), nn.Tanh(), nn.Linear(7, 5), nn.Softplus(), nn.Linear(5, 1)).to(
            dtype
        )


def convolutional(channels: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> nn.Sequential:
    """A small critic of images [B, channels, H, W] with even H and W."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.GroupNorm(2, 6),
            nn.Conv2d(6, 4, 3, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 1),
        ).to(dtype)


def plain_penalty(critic: Callable[[Tensor], Tensor], x: Tensor, weight: float = 10.0, target: float = 1.0) -> Tensor:
    """weight * mean((|grad f(x_i)| - target)^2), each sample's gradient taken alone, from the scores of a batch of one."""
    total = x.new_zeros(())
    for sample in x.detach().split(1):
        point = sample.clone().requires_grad_()
        (grad,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
        total = total + (grad.pow(2).sum().sqrt() - target) ** 2
    return weight * total / len(x)


def parameter_grads(module: nn.Module, loss: Tensor) -> list[Tensor]:
    """d loss / d parameters, zero where the loss does not depend on one."""
    grads = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(module.parameters(), grads, strict=True)]
