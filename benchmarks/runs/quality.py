"""How good the samples of a run are: the one place that calls gpgan's metrics."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpgan.training.trainer import Trainer

# Sets samples aside to select a checkpoint by, without evaluating during training: slices end with it, outside the clock.
SELECTING = {"eval": 10**12}
ALONE = {"eval": 0}
# What ``selection`` reports.
SELECTED = ("kd", "precision", "recall", "coverage")


def selection(trainer: Trainer) -> dict[str, float | None]:
    """Metrics on the part of the data that checkpoints are selected by, which no table reports on."""
    trainer.task.evaluates = lambda n: True  # type: ignore[method-assign]
    numbers = trainer.task.held_out(trainer.step)
    return {name: numbers.get(name) for name in SELECTED}


def report(run: Path, n: int, metrics: Sequence[str], device: str = "cpu") -> dict[str, Any]:
    """Metrics of a run's newest checkpoint: {"kd": {"score": x, "floor": y, ...}, ...}.

    Raises:
        RuntimeError: ``gpgan eval`` failed; its own message went to stderr.
    """
    command = [sys.executable, "-m", "gpgan", "eval", str(run), "--json", "-n", str(n), "--metrics", ",".join(metrics)]
    done = subprocess.run([*command, "--device", device], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def classify(samples: Tensor, data: str) -> Tensor:
    """The classes int64 ``[n]`` of images ``[n, 1, H, W]``, scaled from -1 to 1, by the classifier for a data set."""
    from gpgan.metrics.features.registry import open_network

    network = open_network(data, shape=tuple(samples.shape[1:]), device="cpu")
    parts = [network.probabilities(network.features(part)).argmax(1) for part in torch.split(samples, 1000)]
    return torch.cat(parts)
