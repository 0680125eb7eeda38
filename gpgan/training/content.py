"""What a checkpoint must hold. Its checksum shows only that it is as it was written, not that gpgan wrote it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpgan.data.facts import Facts
from gpgan.records.checkpoint import CheckpointError
from gpgan.util.errors import first_line

FORMAT = 3
# Format 2 is from before there were tasks; it has the content of a checkpoint of generation.
READABLE = (2, FORMAT)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever the content of a checkpoint raises in the block into a CheckpointError that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # torch's classes fail in many ways
        what = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise CheckpointError(
            f"{path} is intact, but this gpgan cannot use its content ({what[:200]}); expected a checkpoint that gpgan wrote, "
            f"with the same networks: resume the run with the gpgan version named in its config.json"
        ) from error


def check_content(state: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError if a checkpoint has another format, or a part is missing or odd.

    The networks and optimizers are checked when they are loaded.
    """
    if not _whole(state.get("format")) or state["format"] not in READABLE:
        raise CheckpointError(
            f"{path} has format {state.get('format')!r}, and this gpgan reads {' and '.join(map(str, READABLE))}; expected one "
            "of these: resume the run with the gpgan version named in its config.json"
        )
    with reading(path):
        for name, fits in PARTS.items():
            if not fits(state[name]):
                raise ValueError(f"{name} is {str(state[name])[:40]!r}")
        names = state.get("names", {"best": False, "keep": False})  # older checkpoints do not have it
        if set(names) != {"best", "keep"} or not all(isinstance(each, bool) for each in names.values()):
            raise ValueError(f"names is {str(names)[:40]!r}")
        cpu_seconds = state.get("cpu_seconds", 0.0)  # older checkpoints do not have it
        if not _finite(cpu_seconds) or cpu_seconds < 0:
            raise ValueError(f"cpu_seconds is {str(cpu_seconds)[:40]!r}")
        facts = Facts.read(state["data"])
        for name, fits in FACTS.items():
            if not fits(getattr(facts, name)):
                raise ValueError(f"data.{name} is {str(getattr(facts, name))[:40]!r}")


def _whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _finite(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _best(value: Any) -> bool:
    return set(value) == {"estimate", "peak", "last"} and all(isinstance(each, float) for each in value.values())


def _meter(value: Any) -> bool:
    return (not value or "step" in value) and all(
        isinstance(each, Tensor) and each.dtype == torch.float64 and each.dim() == 1 and each.numel() > 0
        for each in value.values()
    )


PARTS: dict[str, Callable[[Any], bool]] = {
    "step": _whole,
    "seconds": lambda value: _finite(value) and value >= 0,
    "config": _text,
    "data": lambda value: isinstance(value, dict),
    "meter": _meter,
    "best": _best,
    "random": lambda value: isinstance(value, dict),
}
FACTS: dict[str, Callable[[Any], bool]] = {
    "name": _text,
    "samples": _whole,
    "held_out": _whole,
    "shape": lambda value: len(value) > 0 and all(_whole(each, 1) for each in value),
    "scale": _finite,
    "offset": _finite,
    "classes": lambda value: all(_text(each) for each in value),
    "fingerprint": _text,
}
