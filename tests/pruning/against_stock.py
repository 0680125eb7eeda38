"""The comparison every test of the pruned second order makes: the same critic, once pruned and once by stock autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from critics import assert_exact, operations, parameter_grads
from torch import Tensor, nn

from gpgan import gradient_penalty

Layer = Callable[..., Any]


class Around(nn.Module):
    """A bilinear critic around the layers under test: x goes through a linear map first and into one after.

    Both ends hold a sample's elements fixed, so that any layer that takes [B, *inner] fits, and both have parameters, so
    that a second derivative lost or made up anywhere shows in a gradient. What the layers return is kept in ``seen``.
    """

    def __init__(self, inner: Sequence[int], *layers: Layer) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        size = torch.Size(inner).numel()
        self.into = nn.Parameter(torch.randn(size, size, dtype=torch.float64, generator=generator) / size**0.5)
        self.bias = nn.Parameter(torch.randn(size, dtype=torch.float64, generator=generator))
        self.inner, self.layers = tuple(inner), layers
        self.modules_among = nn.ModuleList(layer for layer in layers if isinstance(layer, nn.Module)).double()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        h = (x.flatten(1) @ self.into + self.bias).view(-1, *self.inner)
        for layer in self.layers:
            h = layer(h)
        self.seen.append(h.detach().clone())
        # Unequal weights, and a square, for which the penalty also depends on the values and not on the slopes alone.
        h = h.reshape(len(x), -1)
        weights = torch.linspace(0.5, 1.5, h.shape[1], dtype=h.dtype)
        return (h * weights).sum(1) + 0.1 * (h**2).mean(1)


class Between(nn.Module):
    """A layer between two linear maps: nothing but the layer may have a second derivative."""

    def __init__(self, layer: Layer, inner: Sequence[int], outputs: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        size = torch.Size(inner).numel()
        self.inner, self.layer = tuple(inner), layer
        self.into = nn.Parameter(torch.randn(size, size, generator=generator))
        self.bias = nn.Parameter(torch.randn(size, generator=generator))
        self.out = nn.Parameter(torch.randn(outputs or size, generator=generator))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        h = (x.flatten(1) @ self.into + self.bias).view(-1, *self.inner)
        return self.layer(h).flatten(1) @ self.out


def both(
    make: Callable[[], nn.Module], x: Tensor, args: tuple[Any, ...] = (), **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Penalty, norms, gradients of the penalty and of the whole critic loss: pruned, and by stock autograd.

    The critic is made anew for each, and the random state set, so that whatever it keeps or draws is the same.
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
    """Raises unless the pruned penalty and all its gradients are stock's, and the critic went through the same values."""
    pruned, stock = both(make, x, args, **options)
    assert torch.equal(pruned["rng"], stock["rng"])
    assert_exact([pruned["penalty"], pruned["norms"]], [stock["penalty"], stock["norms"]])
    assert sum(float(g.norm()) for g in stock["alone"]) > 0
    assert_exact(pruned["alone"], stock["alone"])
    assert_exact(pruned["whole"], stock["whole"])
    for mine, theirs in zip(getattr(pruned["critic"], "seen", ()), getattr(stock["critic"], "seen", ()), strict=True):
        assert torch.equal(mine, theirs)


def penalty_operations(critic: nn.Module, x: Tensor, second_order: str) -> int:
    """Of the penalty and its backward."""
    return operations(lambda: gradient_penalty(critic, None, None, points=x, second_order=second_order).backward())
