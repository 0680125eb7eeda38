"""How a generator of a mixture of Gaussians is scored, and the scores that were published.

Source:
    Srivastava et al., VEEGAN, arXiv 1705.07761, section 4.1; Lin et al., PacGAN, arXiv 1712.04086, section 4.1, whose
    table of these mixtures the published rows are from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from gpgan.data import Dataset, load
from gpgan.metrics.modes import ModeCoverage, mode_coverage

DATA = ("ring", "grid")
SAMPLES = 2500
"""Drawn from each generator."""
REAL_SEEDS = 10
# Added to a run's seed, so that it is not scored on the first latents of its training.
SCORING = 1_000_000


@dataclass(frozen=True)
class Score:
    """One value per column, or its mean: modes captured, high-quality samples in percent, reverse KL in nats."""

    modes: float
    high_quality: float
    reverse_kl: float | None
    """None: not reported."""


# Modes, percent and nats on ring and grid.
PUBLISHED = {
    "GAN": {"ring": Score(6.3, 98.2, 0.45), "grid": Score(17.3, 94.8, 0.70)},
    "Unrolled GAN": {"ring": Score(7.6, 35.6, None), "grid": Score(23.6, 16.0, None)},
    "VEEGAN": {"ring": Score(8.0, 52.9, None), "grid": Score(24.6, 40.0, None)},
    "PacGAN2": {"ring": Score(7.9, 95.6, 0.07), "grid": Score(23.8, 91.3, 0.13)},
    "PacGAN4": {"ring": Score(7.8, 95.9, 0.07), "grid": Score(24.8, 93.6, 0.04)},
}


def load_scaled(data: str) -> Dataset:
    """The mixture, scaled so that the networks see samples with a standard deviation of 1 over both axes together."""
    dataset = load(data)
    return replace(dataset, scale=float(dataset.stored.std(0).square().mean().sqrt()))


@torch.no_grad()
def score(generator: nn.Module, latent: int, dataset: Dataset, seed: int) -> dict[str, Any]:
    """The fields of ``ModeCoverage``, of as many samples as the protocol asks for.

    Args:
        generator: From latents ``[N, latent]`` to samples in the networks' values.
        latent: Length of a latent vector.
        dataset: The mixture.
        seed: The run's seed.
    """
    latents = torch.randn(SAMPLES, latent, generator=torch.Generator().manual_seed(SCORING + seed))
    return asdict(_coverage(generator(latents) * dataset.scale + dataset.offset, dataset))


def score_real(dataset: Dataset) -> list[dict[str, Any]]:
    """The same for real samples, one draw per seed."""
    scores = []
    for seed in range(REAL_SEEDS):
        rows = torch.randperm(len(dataset.stored), generator=torch.Generator().manual_seed(seed))[:SAMPLES]
        scores.append(asdict(_coverage(dataset.stored[rows], dataset)))
    return scores


def _coverage(samples: torch.Tensor, dataset: Dataset) -> ModeCoverage:
    assert dataset.modes is not None
    return mode_coverage(samples, dataset.modes)
