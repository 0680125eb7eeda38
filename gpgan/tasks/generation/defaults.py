"""The defaults of generation for a data set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gpgan.data import Dataset
from gpgan.data.kinds import SMALL
from gpgan.data.split import selection_size
from gpgan.metrics.features.registry import default_name, is_available
from gpgan.settings.config import OptimizerConfig, PenaltyConfig
from gpgan.tasks.generation.config import Config, NetworkConfig

# Steps between evaluations, which then take a few hundredths of the time of training.
EVAL = 500


def for_data(data: str, dataset: Dataset, values: Mapping[str, Any]) -> Config:
    """The defaults for a data set, after its split, by the shape of its samples; tuned on ring, digits and fashion.

    Args:
        data: Its name or path.
        dataset: The data set.
        values: The settings that will override the defaults, by dotted name.
    """
    count, numbers = len(dataset), math.prod(dataset.shape)
    # A second thread hardly speeds up such small networks, and slows them down many times if the core is busy.
    threads = 1 if numbers <= SMALL else 0
    # The features of other kinds of data are the samples themselves, whose distances say less.
    evaluated = dataset.kind.name == "images" and selection_size(dataset) and is_available(default_name(dataset))
    config = Config(data, batch=max(2, min(Config.batch, count)), threads=threads, eval=EVAL if evaluated else 0)
    if dataset.kind.name == "points":
        return replace(
            config,
            steps=5000,
            batch=max(2, min(256, count)),
            n_critic=5,
            tick=250,
            snapshot=1000,
            # Few latents: with 64 a generator must fold away far more of its space to separate modes in a plane.
            network=NetworkConfig(latent=max(2, numbers), width=128),
            # Modes are close together compared with the critic's slope: with weight 10 the valleys between them stay
            # shallow.
            penalty=PenaltyConfig(weight=0.1),
        )
    if numbers <= SMALL:
        optimizer = OptimizerConfig(lr=2e-3)
        return replace(config, steps=4500, tick=250, network=NetworkConfig(latent=16), optimizer=optimizer)
    if dataset.kind.name == "images" and values.get("preset", "auto") == "auto":
        return _for_images(config, count, values)
    return config


def _for_images(config: Config, count: int, values: Mapping[str, Any]) -> Config:
    """At equal CPU time many small steps are better than few large ones: see docs/presets.md."""
    penalty = PenaltyConfig(weight=0.1, target=0.0, points="real", lazy=16)
    optimizer = OptimizerConfig(lr=2e-3, schedule="inverse-sqrt", beta2=0.99)
    return replace(
        config,
        steps=200_000,
        batch=max(2, min(16, count)),
        n_critic=1,
        # A line has the critic's estimate on held-out samples, which takes as long as 8 steps.
        tick=200,
        snapshot=1000,
        checkpoint=1000,
        eval=5 * config.eval,
        objective="non-saturating",
        # What is left without effect by a weight of 0, or by another optimizer, is not set.
        penalty=PenaltyConfig() if values.get("penalty.weight") == 0 else penalty,
        optimizer=optimizer if values.get("optimizer.kind", "adam") == "adam" else OptimizerConfig(),
    )
