"""gpgan: the gradient penalty of WGAN-GP, exact and fast, and a trainer built on it."""

from gpgan import ops
from gpgan.critic_paths import CriticStats
from gpgan.critic_step import CriticStep
from gpgan.penalty import Penalty, gradient_penalty

__version__ = "0.1.0"

__all__ = ["CriticStats", "CriticStep", "Penalty", "__version__", "gradient_penalty", "ops"]
