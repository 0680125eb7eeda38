"""The list of operators: complete for all forms, and right about which of them work in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from activation_forms import ALL, IN_PLACE
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gpgan.penalty import kinks
from gpgan.pruning import operators
from gpgan.pruning.mode import REPLACEMENTS
from gpgan.schedule.tape import RECORDERS


class Listed(TorchFunctionMode):
    """Records whether each listed operator that runs is said to work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.in_place: list[bool] = []

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in operators.ACTIVATIONS or func in operators.POOLING:
            rest = {name: value for name, value in kwargs.items() if name != "input"}
            self.in_place.append(operators.is_in_place(func, args[1:], rest))
        return func(*args, **kwargs)


@pytest.mark.parametrize("name", ALL)
def test_every_form_of_an_activation_is_listed_with_its_way(name: str) -> None:
    activation = ALL[name]()
    if isinstance(activation, nn.Module):
        activation.double()
    with Listed() as listed, torch.no_grad():
        activation(torch.randn(5, 3, dtype=torch.float64))
    assert listed.in_place == [name in IN_PLACE]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_pooling_is_in_place(n: int) -> None:
    """With all arguments by position, whose last one is a bool."""
    x = torch.randn(2, 3, *[6] * n)
    with Listed() as listed:
        getattr(torch, f"max_pool{n}d")(x, 2, 2, 0, 1, True)
        getattr(F, f"max_pool{n}d")(x, 2, 2, 0, 1, True)
        getattr(F, f"avg_pool{n}d")(x, 2, 2, 0, True, True)
        getattr(F, f"adaptive_max_pool{n}d")(x, 2, True)
        getattr(F, f"adaptive_avg_pool{n}d")(x, 2)
    assert listed.in_place
    assert not any(listed.in_place)


def test_all_that_is_listed_is_pruned_and_all_that_is_held_or_recorded_is_listed() -> None:
    assert operators.ACTIVATIONS | set(operators.POOLING) <= REPLACEMENTS.keys()
    assert kinks.HOLD.keys() <= operators.ACTIVATIONS | set(operators.POOLING)
    assert set(operators.AVERAGE_POOL) <= RECORDERS.keys()


def test_listed_operators_are_functions_of_a_tensor() -> None:
    assert all(callable(func) for func in (*operators.ACTIVATIONS, *operators.POOLING))
    assert Tensor.relu in operators.ACTIVATIONS
