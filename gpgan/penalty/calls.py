"""Calls of the critic, which may work in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gpgan.penalty.penalty import Critic


def call(critic: Critic, samples: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the critic returns. It may change ``samples``, but only copies of the other tensors."""

    def copy(value: Any) -> Any:
        return value.clone() if isinstance(value, Tensor) else value

    return critic(samples, *map(copy, args), **{name: copy(value) for name, value in kwargs.items()})
