"""The tasks by name."""

from __future__ import annotations

import importlib
from typing import Any

from gpgan.util.nearest import nearest

# Each is imported on use. Those of gpgan wedge fit are chosen there, by their method.
WEDGE = {
    "cryowgen": "gpgan.tasks.wedge.shared:SharedPlan",
    "cryogen-2": "gpgan.tasks.wedge.shared:SharedPlan",
    "cryogen-1": "gpgan.tasks.wedge.critic:SharedCritic",
    **dict.fromkeys(
        ("amortised-cryogen-1", "amortised-cryogen-2", "amortised-cryowgen", "self-supervised", "supervised"),
        "gpgan.tasks.wedge.amortised:Amortised",
    ),
}
TASKS = {
    "generation": "gpgan.tasks.generation.task:Generation",
    "superresolve": "gpgan.tasks.superresolve:SuperResolution",
    **WEDGE,
}
DEFAULT = "generation"


def task_class(name: str) -> Any:
    """The class of a task: see ``gpgan.tasks.task.Task``.

    Raises:
        ValueError: There is no task of this name; the message gives the nearest one.
    """
    if name not in TASKS:
        usual = " or ".join(each for each in TASKS if each not in WEDGE)
        raise ValueError(f"task is {name!r}; expected {usual}, or one of gpgan wedge fit{nearest(str(name), TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
