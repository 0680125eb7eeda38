"""The ways in which a critic step's gradients are computed."""

from gpgan.critic_paths.choose import choose
from gpgan.critic_paths.common import CriticLoss, CriticStats, Inputs, Path, Settings
from gpgan.critic_paths.compiled import Compiled, NotCompiled
from gpgan.critic_paths.general import General
from gpgan.critic_paths.scheduled import Scheduled

__all__ = [
    "Compiled",
    "CriticLoss",
    "CriticStats",
    "General",
    "Inputs",
    "NotCompiled",
    "Path",
    "Scheduled",
    "Settings",
    "choose",
]
