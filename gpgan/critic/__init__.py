"""The critic's update: ``CriticStep`` and the paths that compute its gradients."""

from gpgan.critic.common import CriticStats
from gpgan.critic.optimizer import clip_weights
from gpgan.critic.step import CriticStep

__all__ = ["CriticStats", "CriticStep", "clip_weights"]
