"""The comparison of pruned with stock second order for the same critic, which all tests of pruning share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from critics import assert_exact, operations, parameter_grads
from torch import Tensor, nn

from gpgan import gradient_penalty

Layer = Callable[..., Any]


class Around(nn.Module):
    """A bilinear critic around the layers under test, with a linear map before and after them.

    Both maps keep the shape [B, *inner] that the layers take. Both have parameters, so that a second derivative that is
    lost or wrong anywhere shows in a gradient. ``seen`` keeps the layers' outputs.
    """

    def __init__(self, inner: Sequence[int], *layers: Layer) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        size = torch.Size(inner).numel()
        self.into = nn.Parameter(torch.randn(size, size, dtype=torch.float64, generator=rng) / size**0.5)
        self.bias = nn.Parameter(torch.randn(size, dtype=torch.float64, generator=rng))
        self.inner, self.layers = tuple(inner), layers
        self.modules_among = nn.ModuleList(layer for layer in layers if isinstance(layer, nn.Module)).double()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        h = (x.flatten(1) @ self.into + self.bias).view(-1, *self.inner)
        for layer in self.layers:
            h = layer(h)
        self.seen.append(h.detach().clone())
        # Unequal weights, and a square, so that the penalty depends on values and not only on slopes.
        h = h.reshape(len(x), -1)
        weights = torch.linspace(0.5, 1.5, h.shape[1], dtype=h.dtype)
        return (h * weights).sum(1) + 0.1 * (h**2).mean(1)


class Between(nn.Module):
    """A layer between two linear maps: only the layer may have a second derivative."""

    def __init__(self, layer: Layer, inner: Sequence[int], outputs: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        size = torch.Size(inner).numel()
        self.inner, self.layer = tuple(inner), layer
        self.into = nn.Parameter(torch.randn(size, size, generator=rng))
        self.bias = nn.Parameter(torch.randn(size, generator=rng))
        self.out = nn.Parameter(torch.randn(outputs or size, generator=rng))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        h = (x.flatten(1) @ self.into + self.bias).view(-1, *self.inner)
        return self.layer(h).flatten(1) @ self.out


def both(
    make: Callable[[], nn.Module], x: Tensor, args: tuple[Any, ...] = (), **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Penalty, norms, and gradients of the penalty and of the whole critic loss: pruned and by stock autograd.

    A new critic is made for each, with the same random state, so its buffers and random numbers are the same.
    """
    results = []
    for second_order in ("pruned", "stock"):
        torch.manual_seed(5)
        critic = make()
        penalty, norms = gradient_penalty(
            critic, None, None, points=x, critic_args=args, second_order=second_order, return_norms=True, **options
        )
        alone = parameter_grads(critic, penalty)
        again = gradient_penalty(critic, None, None, points=x, critic_args=args, second_order=second_order, **options)
        whole = parameter_grads(critic, again + critic(x.flip(0), *args).mean() - critic(x, *args).mean())
        results.append(
            {
                "critic": critic,
                "penalty": penalty.detach(),
                "norms": norms,
                "alone": alone,
                "whole": whole,
                "rng": torch.get_rng_state(),
            }
        )
    return results[0], results[1]


def assert_same(make: Callable[[], nn.Module], x: Tensor, args: tuple[Any, ...] = (), **options: Any) -> None:
    """Raises unless the pruned penalty, all its gradients and the critic's intermediate values equal stock's."""
    pruned, stock = both(make, x, args, **options)
    assert torch.equal(pruned["rng"], stock["rng"])
    assert_exact([pruned["penalty"], pruned["norms"]], [stock["penalty"], stock["norms"]])
    assert sum(float(g.norm()) for g in stock["alone"]) > 0
    assert_exact(pruned["alone"], stock["alone"])
    assert_exact(pruned["whole"], stock["whole"])
    for mine, theirs in zip(getattr(pruned["critic"], "seen", ()), getattr(stock["critic"], "seen", ()), strict=True):
        assert torch.equal(mine, theirs)


def penalty_operations(critic: nn.Module, x: Tensor, second_order: str) -> int:
    """The operations of the penalty and its backward."""
    return operations(lambda: gradient_penalty(critic, None, None, points=x, second_order=second_order).backward())
