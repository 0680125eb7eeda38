"""The settings of a gradient penalty, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from gpgan.ops._checks import check_penalty
from gpgan.penalty.points import NEEDS

Critic = Callable[..., Tensor]

CHOICES = {
    "points": tuple(NEEDS),
    "method": ("exact", "finite_difference"),
    "second_order": ("pruned", "stock"),
    "impl": ("auto", "native", "reference"),
}


@dataclass(frozen=True)
class Penalty:
    """The penalty of a ``CriticStep``. Its fields are arguments of ``gradient_penalty``, which describes them."""

    weight: float = 10.0
    target: float = 1.0
    one_sided: bool = False
    points: str = "between"
    method: str = "exact"
    second_order: str = "pruned"
    impl: str = "auto"
    allow_batch_coupling: bool = False

    def __post_init__(self) -> None:
        check_penalty(self.weight, self.target, "mean")
        check_choices(points=self.points, method=self.method, second_order=self.second_order, impl=self.impl)

    @property
    def batches(self) -> int:
        """The number of batches of points: 2 for ``points="both"``, else 1."""
        return 2 if self.points == "both" else 1


def check_choices(**chosen: str) -> None:
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, CHOICES[name]))}")
