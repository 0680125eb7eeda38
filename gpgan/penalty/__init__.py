"""The gradient penalty: ``gradient_penalty``, and what it is made of."""

from gpgan.penalty.drop_in import gradient_penalty
from gpgan.penalty.penalty import Critic, Penalty

__all__ = ["Critic", "Penalty", "gradient_penalty"]
