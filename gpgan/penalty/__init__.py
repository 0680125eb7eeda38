"""The gradient penalty: ``gradient_penalty`` and its parts."""

from gpgan.penalty.drop_in import gradient_penalty
from gpgan.penalty.penalty import Critic, Penalty

__all__ = ["Critic", "Penalty", "gradient_penalty"]
