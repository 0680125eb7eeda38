"""The ways in which a critic step's gradients are computed."""

from gpgan.critic_paths.choose import choose
from gpgan.critic_paths.common import WASSERSTEIN, CriticStats, Inputs, Path, Settings, Term
from gpgan.critic_paths.compiled import Compiled, NotCompiled
from gpgan.critic_paths.general import General
from gpgan.critic_paths.scheduled import Scheduled

__all__ = [
    "WASSERSTEIN",
    "Compiled",
    "CriticStats",
    "General",
    "Inputs",
    "NotCompiled",
    "Path",
    "Scheduled",
    "Settings",
    "Term",
    "choose",
]
