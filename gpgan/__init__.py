"""gpgan: an exact, fast WGAN-GP gradient penalty, and a trainer built on it."""

import importlib
from typing import TYPE_CHECKING, Any

from gpgan import objectives, ops
from gpgan.critic.common import CriticStats
from gpgan.critic.step import CriticStep
from gpgan.penalty import Penalty, gradient_penalty

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "Config",
    "CriticStats",
    "CriticStep",
    "Dataset",
    "Penalty",
    "Trainer",
    "__version__",
    "configure",
    "data",
    "gradient_penalty",
    "labs",
    "metrics",
    "nn",
    "objectives",
    "ops",
]

# The trainer needs the packages of the extra "train" and is slow to import, so it is imported on first use.
_TRAINER = {
    "Callback": "gpgan.training.callbacks",
    "Config": "gpgan.tasks.generation.config",
    "Dataset": "gpgan.data",
    "Trainer": "gpgan.training.trainer",
    "configure": "gpgan.tasks.configure",
}

# Their packages, likewise.
_PACKAGES = ("data", "labs", "metrics", "nn")

if TYPE_CHECKING:
    from gpgan import data, labs, metrics, nn
    from gpgan.data import Dataset
    from gpgan.tasks.configure import configure
    from gpgan.tasks.generation.config import Config
    from gpgan.training.callbacks import Callback
    from gpgan.training.trainer import Trainer


def __getattr__(name: str) -> Any:
    if name in _TRAINER:
        return getattr(importlib.import_module(_TRAINER[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"gpgan.{name}")
    raise AttributeError(f"module 'gpgan' has no attribute {name!r}")
