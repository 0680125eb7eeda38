"""Max and average pooling, also adaptive, are pruned in each of torch's forms, with stock's values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from against_stock import Around, Between, assert_same, penalty_operations
from torch import Tensor, nn
from torch.nn import functional as F

from gpgan import gradient_penalty

Pool = Callable[[Tensor], Tensor]

INNER = {1: (2, 9), 2: (2, 6, 5), 3: (2, 5, 4, 4)}
MAX_OPTIONS: dict[str, dict[str, Any]] = {
    "": {"kernel_size": 2},
    "stride": {"kernel_size": 3, "stride": 1},
    "padding": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dilation": {"kernel_size": 2, "stride": 1, "dilation": 2},
    "ceil_mode": {"kernel_size": 2, "ceil_mode": True},
}
AVERAGE_OPTIONS: dict[str, dict[str, Any]] = {
    "": {"kernel_size": 2},
    "stride": {"kernel_size": 3, "stride": 1},
    "padding": {"kernel_size": 3, "stride": 2, "padding": 1},
    "padding not counted": {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    "ceil_mode": {"kernel_size": 2, "ceil_mode": True},
}


def forms(n: int) -> dict[str, Pool]:
    """From a name to a pooling function over the last n dimensions. Operators are looked up once, outside of the critic."""
    result: dict[str, Pool] = {}
    maximum, average = getattr(F, f"max_pool{n}d"), getattr(F, f"avg_pool{n}d")
    for name, options in MAX_OPTIONS.items():
        result[f"F.max_pool, {name}"] = lambda h, o=options: maximum(h, **o)
        result[f"F.max_pool, indices, {name}"] = lambda h, o=options: maximum(h, return_indices=True, **o)[0]
        result[f"nn.MaxPool, {name}"] = getattr(nn, f"MaxPool{n}d")(**options)
        result[f"torch.max_pool, {name}"] = lambda h, o=options: getattr(torch, f"max_pool{n}d")(h, **o)
    for name, options in AVERAGE_OPTIONS.items():
        result[f"F.avg_pool, {name}"] = lambda h, o=options: average(h, **o)
        result[f"nn.AvgPool, {name}"] = getattr(nn, f"AvgPool{n}d")(**options)
    if n > 1:
        result["F.avg_pool, divisor"] = lambda h: average(h, 2, divisor_override=3)
        result["nn.AvgPool, divisor"] = getattr(nn, f"AvgPool{n}d")(2, divisor_override=3)
    else:
        result["torch.avg_pool1d"] = lambda h: torch.avg_pool1d(h, 3, stride=2, padding=1)
        result["torch.max_pool1d_with_indices"] = lambda h: torch.max_pool1d_with_indices(h, 2)[0]
    result["F.max_pool_with_indices"] = lambda h: getattr(F, f"max_pool{n}d_with_indices")(h, 2)[0]
    result["arguments by position"] = lambda h: maximum(average(h, 2, 1, 1), 3, 2, 1, 1, True)
    for size in (1, 3, (2, *[3] * (n - 1))):
        for kind in ("avg", "max"):
            functional = getattr(F, f"adaptive_{kind}_pool{n}d")
            module = getattr(nn, f"Adaptive{kind.title()}Pool{n}d")
            result[f"F.adaptive_{kind}_pool, {size}"] = lambda h, f=functional, s=size: f(h, s)
            result[f"nn.Adaptive{kind.title()}Pool, {size}"] = module(size)
    functional = getattr(F, f"adaptive_max_pool{n}d")
    result["F.adaptive_max_pool, indices"] = lambda h, f=functional: f(h, 2, return_indices=True)[0]
    if n == 1:
        result["torch.adaptive_avg_pool1d"] = lambda h: torch.adaptive_avg_pool1d(h, 2)
        result["torch.adaptive_max_pool1d"] = lambda h: torch.adaptive_max_pool1d(h, 2)[0]
    else:
        result["F.adaptive_avg_pool, None"] = lambda h: getattr(F, f"adaptive_avg_pool{n}d")(h, (None, *[2] * (n - 1)))
    return result


FORMS = {f"{n}d {name}": (n, pool) for n in INNER for name, pool in forms(n).items()}
# One form of each operator, for tests that do not depend on the geometry.
SOME = [name for name in FORMS if (name.startswith("2d") and "nn." not in name) or name.endswith((", ", "indices"))]


def points(n: int) -> Tensor:
    return torch.randn(3, *INNER[n], dtype=torch.float64, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", FORMS)
def test_penalty_and_gradients_are_stocks(name: str) -> None:
    n, pool = FORMS[name]
    assert_same(lambda: Around(INNER[n], torch.sin, pool, F.silu), points(n))
    # Zeros are ties: the same maximum must be chosen.
    assert_same(lambda: Around(INNER[n], F.relu, pool), points(n))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_costs_what_picking_as_many_elements_costs(name: str) -> None:
    n, pool = FORMS[name]
    x = points(n)
    outputs = pool(x).flatten(1).shape[1]

    def pick(h: Tensor) -> Tensor:
        return h.flatten(1).repeat(1, 3)[:, :outputs]

    picked, pooled = (Between(layer, INNER[n], outputs) for layer in (pick, pool))
    assert penalty_operations(pooled, x, "pruned") == penalty_operations(picked, x, "stock")


@pytest.mark.parametrize("name", SOME)
def test_values_are_stocks_to_the_bit_and_slopes_are_equal(name: str) -> None:
    n, pool = FORMS[name]
    x = points(n).float()
    x[1] = 0.0
    x[2] = -0.0
    x[1].view(-1)[::5], x[2].view(-1)[::7], x[1].view(-1)[3] = -math.inf, math.inf, math.nan
    seen, slopes = {}, {}
    for second_order in ("pruned", "stock"):

        def critic(x: Tensor, key: str = second_order) -> Tensor:
            h = x * 1.0
            h.register_hook(lambda grad: slopes.__setitem__(key, grad.detach().clone()))
            out = pool(h)
            seen[key] = out.detach().clone()
            return out.flatten(1).sum(1)

        gradient_penalty(critic, None, None, points=x, second_order=second_order)
    assert torch.equal(seen["pruned"].view(torch.int32), seen["stock"].view(torch.int32))
    torch.testing.assert_close(slopes["pruned"], slopes["stock"], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("n", INNER)
@pytest.mark.parametrize("kind", ["max", "adaptive_max"])
def test_indices_are_stocks(n: int, kind: str) -> None:
    pool = getattr(F, f"{kind}_pool{n}d")
    kept: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        values, indices = pool(x * 1.0, 2, return_indices=True)
        kept.append(indices)
        return values.flatten(1).sum(1) * 1.0

    for second_order in ("pruned", "stock"):
        gradient_penalty(critic, None, None, points=points(n), second_order=second_order)
    assert kept[0].dtype == kept[1].dtype == torch.int64
    assert not kept[0].requires_grad
    assert torch.equal(*kept)


@pytest.mark.parametrize("n", INNER)
def test_unpooling_takes_the_indices(n: int) -> None:
    def there_and_back(h: Tensor) -> Tensor:
        values, indices = getattr(F, f"max_pool{n}d")(h, 2, return_indices=True)
        return getattr(F, f"max_unpool{n}d")(values, indices, 2, output_size=h.shape)

    assert_same(lambda: Around(INNER[n], torch.sin, there_and_back, F.silu), points(n))


@pytest.mark.parametrize("name", SOME)
def test_samples_one_at_a_time(name: str) -> None:
    n, pool = FORMS[name]
    assert_same(lambda: Around(INNER[n], lambda h: torch.stack([pool(sample.sin()) for sample in h])), points(n))


@pytest.mark.parametrize("name", SOME)
def test_the_result_may_be_changed_in_place(name: str) -> None:
    n, pool = FORMS[name]
    for change in (F.relu_, lambda h: h.mul_(3.0), lambda h: F.leaky_relu(h, 0.2, inplace=True)):
        assert_same(lambda change=change: Around(INNER[n], torch.sin, pool, change), points(n))


@pytest.mark.parametrize("name", SOME)
def test_a_change_of_the_input_afterwards_is_right_or_an_error(name: str) -> None:
    n, pool = FORMS[name]

    def changing(copy: bool) -> Pool:
        def layer(h: Tensor) -> Tensor:
            h = h * 1.0
            out = pool(h.clone() if copy else h)
            h.mul_(3.0)
            return torch.cat([out.flatten(1), h.flatten(1)], 1)

        return layer

    try:
        gradient_penalty(Around(INNER[n], changing(False)), None, None, points=points(n), second_order="stock")
    except RuntimeError:
        with pytest.raises(RuntimeError, match=r"modified (by an )?inplace"):
            gradient_penalty(Around(INNER[n], changing(False)), None, None, points=points(n))
    else:
        assert_same(lambda: Around(INNER[n], changing(False)), points(n))


@pytest.mark.parametrize("second_order", ["pruned", "stock"])
def test_nothing_but_parameters_gets_a_gradient(second_order: str) -> None:
    """Extra leaves would hold a tensor of the activation's size until the graph is freed."""
    critic = Around((2, 6, 5), lambda h: F.avg_pool2d(F.max_pool2d(h, 2), 2))
    known = {id(parameter) for parameter in critic.parameters()}

    def remembering(x: Tensor) -> Tensor:
        if x.grad_fn is not None:  # a copy of the points, which the critic may change
            known.add(id(x.grad_fn.next_functions[0][0].variable))
        return critic(x)

    penalty = gradient_penalty(remembering, None, None, points=points(2), second_order=second_order)
    waiting = [penalty.grad_fn]
    unknown = []
    while waiting:
        node = waiting.pop()
        leaf = getattr(node, "variable", critic.into)
        if id(leaf) not in known and leaf.dim() > 0:  # a 0-d leaf takes no memory
            unknown.append(tuple(node.variable.shape))
        waiting += [parent for parent, _ in node.next_functions if parent is not None]
    assert unknown == []
