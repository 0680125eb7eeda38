"""The identity of a run: a random id in its config.json and in each of its checkpoints."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

FILE = "config.json"


def new() -> str:
    """A new id."""
    return uuid.uuid4().hex


def of(run: Path) -> str | None:
    """The id in a run's config.json; "" in one written before runs had ids, None if the file cannot be read."""
    try:
        settings = json.loads((run / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return str(settings.get("id", "")) if isinstance(settings, dict) else None
