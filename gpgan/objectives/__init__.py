"""Adversarial objectives: the losses of critic and generator as pure functions of the critic's scores.

objective = gpgan.objectives.get("hinge")
step = gpgan.CriticStep(critic, optimizer, objective=objective)
loss = objective.generator_loss(None, critic(generator(latents)))
"""

from __future__ import annotations

from gpgan.objectives.hinge import HINGE
from gpgan.objectives.least_squares import LEAST_SQUARES
from gpgan.objectives.minimax import MINIMAX
from gpgan.objectives.non_saturating import NON_SATURATING
from gpgan.objectives.objective import Objective, PairedTerm, Term
from gpgan.objectives.relativistic import RELATIVISTIC
from gpgan.objectives.wasserstein import WASSERSTEIN
from gpgan.util.nearest import nearest

__all__ = ["OBJECTIVES", "Objective", "PairedTerm", "Term", "get"]

OBJECTIVES = {each.name: each for each in (WASSERSTEIN, MINIMAX, NON_SATURATING, LEAST_SQUARES, HINGE, RELATIVISTIC)}


def get(name: str) -> Objective:
    """The objective with this name.

    Raises:
        ValueError: There is no such objective; the message names the nearest one.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective is {name!r}; expected {', '.join(OBJECTIVES)}{nearest(str(name), OBJECTIVES)}")
    return OBJECTIVES[name]
