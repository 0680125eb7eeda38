"""The evaluations of a run: metrics.jsonl, and the nearest real neighbours of samples as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpgan.data.drawing import image_groups
from gpgan.metrics.sample_set import SampleSet
from gpgan.metrics.scores.neighbours import nearest
from gpgan.util.files import append

FILE, NEIGHBOURS = "metrics.jsonl", "neighbours.png"
# Samples in the picture, and real samples beside each.
SHOWN, BESIDE = 24, 3


def add_evaluation(folder: Path, line: Mapping[str, Any]) -> None:
    """Adds a line to metrics.jsonl."""
    append(folder / FILE, json.dumps(line, allow_nan=False))


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, from the oldest on; damaged ones are skipped."""
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            each = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(each, dict) and isinstance(each.get("metrics"), dict):
            found.append(each)
    return found


def at_step(run: Path, step: int) -> dict[str, Any]:
    """What stats.jsonl says of the cost of a run up to a step: images, seconds, cpu_seconds; {} if it says nothing."""
    try:
        lines = (run / "stats.jsonl").read_bytes().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            stats = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(stats, dict) and stats.get("step") == step:
            return {name: stats[name] for name in ("images", "seconds", "cpu_seconds") if name in stats}
    return {}


def draw_neighbours(folder: Path, fake: SampleSet, training: SampleSet) -> bool:
    """Writes neighbours.png: generated images, each beside the training images that are nearest in feature space.

    Returns:
        Whether there are images to draw.
    """
    if fake.values[:1].dim() != 4 or len(training) < BESIDE:
        return False
    _, found = nearest(fake.first(SHOWN).features, training.features, BESIDE)
    groups: dict[str, Tensor] = {"sample": fake.values[:SHOWN]}
    for rank in range(BESIDE):
        images = [training.values[row : row + 1] for row in found[:, rank].tolist()]
        groups["nearest" if rank == 0 else f"{rank + 1}."] = torch.cat(images)
    image_groups(folder / NEIGHBOURS, groups)
    return True
