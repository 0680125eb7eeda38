"""What must be known about a data set to rebuild its networks and to notice that it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gpgan.data.dataset import Dataset


@dataclass(frozen=True)
class Facts:
    """Attributes as in ``Dataset``; ``samples`` and ``held_out`` are counts; original = sample * scale + offset."""

    name: str
    samples: int
    held_out: int
    shape: tuple[int, ...]
    scale: float
    offset: float
    classes: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of(cls, dataset: Dataset) -> Facts:
        return cls(
            name=dataset.name,
            samples=len(dataset),
            held_out=0 if dataset.held_out is None else len(dataset.held_out),
            shape=dataset.shape,
            scale=dataset.scale,
            offset=dataset.offset,
            classes=dataset.classes,
            fingerprint=dataset.fingerprint(),
        )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Facts:
        """From a checkpoint or a config.json."""
        known = {each.name: values[each.name] for each in fields(cls)}
        return cls(**{**known, "shape": tuple(known["shape"]), "classes": tuple(known["classes"])})

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape), "classes": list(self.classes)}


def seeds(data: str) -> str:
    """Ends the message that data changed, if it may come from code that draws from generators of its own."""
    if ":" not in data:
        return ""
    return ". Code must seed the generators that it makes, e.g. numpy.random.default_rng(0)"
