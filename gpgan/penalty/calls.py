"""Calls of the critic, which may work in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gpgan.penalty.penalty import Critic


def call(critic: Critic, samples: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the critic returns. It gets copies of all tensors, so that nothing of the caller's changes if it works in
    place. The copy of a leaf that requires grad is not a leaf, which autograd would not let it change."""

    def copy(value: Any) -> Any:
        return value.clone() if isinstance(value, Tensor) else value

    return critic(samples.clone(), *map(copy, args), **{name: copy(value) for name, value in kwargs.items()})
