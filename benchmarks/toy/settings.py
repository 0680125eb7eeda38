"""The settings of the toy table: those that all presets share, and those of single presets.

Objective, regulariser and optimizer are the preset's. docs/toy.md tells how these settings were found.
"""

from __future__ import annotations

from typing import Any

# Seeds per preset, in the table's order.
SEEDS = {
    "gan": 3,
    "nsgan": 10,
    "lsgan": 3,
    "wgan": 3,
    "wgan-gp": 10,
    "wgan-lp": 3,
    "dragan": 3,
    "sngan": 3,
    "stylegan-r1": 3,
    "r3gan": 3,
}

# Generator steps of each run, chosen so that the whole table takes ninety minutes on two cores.
STEPS = {"ring": 6_000, "grid": 27_000}

COMMON: dict[str, Any] = {
    "device": "cpu",
    "batch": 256,
    "n_critic": 1,
    "network.kind": "mlp",
    "network.latent": 2,
    "network.width": 64,
    "network.depth": 8,
    "network.ema": 0.999,
    "optimizer.lr": 2e-3,
    "optimizer.beta2": 0.99,
    "optimizer.schedule": "linear",
}

OWN: dict[str, dict[str, Any]] = {
    # With SGD at the paper's rate of 0.1 it diverges within ten steps.
    "gan": {"optimizer.kind": "adam"},
    # With the paper's limit of 0.01 and rate of 5e-5 it learnt nothing in a trial.
    "wgan": {"weight_clip": 0.1, "optimizer.lr": 1e-3},
    # The penalty's weight of the toy problems in the paper's published code.
    "wgan-gp": {"penalty.weight": 0.1},
    "wgan-lp": {"penalty.weight": 0.1},
}


def of(preset: str) -> dict[str, Any]:
    """The settings that override a preset's own in the table's runs, by dotted name."""
    return COMMON | OWN.get(preset, {})
