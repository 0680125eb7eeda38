"""How many modes of a mixture of Gaussians a generator found, and how evenly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpgan.data.dataset import Mixture
from gpgan.metrics.evaluation import Evaluation, Metric, Values

# A sample further away from every mode than so many of the mixture's deviations is none of its samples.
DEVIATIONS = 3.0


@dataclass(frozen=True)
class ModeCoverage:
    captured: int
    """modes that are the nearest of at least one high-quality sample"""
    modes: int
    """all modes of the mixture"""
    high_quality: float
    """share of the samples that lie within DEVIATIONS of their nearest mode; 0..1"""
    reverse_kl: float
    """KL(p || uniform) = log(modes) - H(p) in nats, p being the shares of the modes among the high-quality samples; 0 is
    best, log(modes) is one mode alone; NaN without any high-quality sample"""


def mode_coverage(samples: Tensor, mixture: Mixture) -> ModeCoverage:
    """Compares samples ``[N, D]`` with the mixture that a generator was to learn.

    Args:
        samples: In the units of the mixture. 2500 of them in the source's tables.
        mixture: ``centres [K, D]`` and one ``deviation`` for all.

    Raises:
        ValueError: There are no samples, they are not of the mixture's dimension, or hold NaN or infinite values.

    Source:
        Srivastava et al., VEEGAN, arXiv 1705.07761; Lin et al., PacGAN, arXiv 1712.04086. The
        reverse divergence, of the generated from the wanted distribution, stays finite where modes are missing. As in
        PacGAN's code it is taken over high-quality samples alone.
    """
    modes, dimension = mixture.centres.shape
    if samples.dim() != 2 or samples.shape[1] != dimension or len(samples) == 0:
        raise ValueError(f"samples has shape {tuple(samples.shape)}; expected [N, {dimension}] with N from 1 on")
    if not samples.isfinite().all():
        raise ValueError("samples hold NaN or infinite values; expected finite ones: the generator has diverged")
    centres = mixture.centres.to(samples.device, torch.float64)
    # Not by a matrix product, which would lose the digits of distances that are small beside the centres.
    distances = torch.cdist(samples.double(), centres, compute_mode="donot_use_mm_for_euclid_dist")
    nearest, mode = distances.min(1)
    good = mode[nearest <= DEVIATIONS * mixture.deviation]
    counts = torch.bincount(good, minlength=modes)
    shares = counts.double() / len(good)
    reverse_kl = math.log(modes) - float(torch.special.entr(shares).sum())
    # Rounding may leave a little less than nothing.
    reverse_kl = max(reverse_kl, 0.0) if len(good) else math.nan
    return ModeCoverage(int((counts > 0).sum()), modes, len(good) / len(samples), reverse_kl)


def _measure(evaluation: Evaluation) -> Values:
    dataset = evaluation.dataset
    assert dataset.modes is not None
    coverage = mode_coverage(evaluation.samples * dataset.scale + dataset.offset, dataset.modes)
    return {f"modes_{name}": None if value != value else value for name, value in vars(coverage).items()}


def _rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "modes_modes" not in values:
        return []
    kl = values["modes_reverse_kl"]
    return [
        ("modes", f"{values['modes_captured']} of {values['modes_modes']}"),
        ("high quality", f"{100 * values['modes_high_quality']:.1f} %  within {DEVIATIONS:g} deviations of a mode"),
        ("reverse KL", f"{'none' if kl is None else f'{kl:.4f}'}  of the modes' shares; 0 is even"),
    ]


METRIC = Metric("modes", _measure, _rows, lambda evaluation: evaluation.dataset.modes is not None)
