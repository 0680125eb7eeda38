"""Mode coverage: how many modes of a mixture of Gaussians a generator covers, and how evenly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gpgan.data.dataset import Mixture

# A sample is of high quality if it is within this many standard deviations of a mode.
DEVIATIONS = 3.0


@dataclass(frozen=True)
class ModeCoverage:
    captured: int
    """modes that are the nearest mode of at least one high-quality sample"""
    modes: int
    """all modes of the mixture"""
    high_quality: float
    """share of the samples within DEVIATIONS standard deviations of their nearest mode; 0..1"""
    reverse_kl: float
    """KL(p || uniform) = log(modes) - H(p) in nats, where p are the shares of the modes among the high-quality samples; 0
    is best, log(modes) is a single mode; NaN without high-quality samples"""


def mode_coverage(samples: Tensor, mixture: Mixture) -> ModeCoverage:
    """Compares samples ``[N, D]`` with the mixture that the generator was trained on.

    Args:
        samples: In the units of the mixture. The source's tables use 2500.
        mixture: ``centres [K, D]`` and a common ``deviation``.

    Raises:
        ValueError: There are no samples, they do not have the mixture's dimension, or they hold NaN or infinite values.

    Source:
        Srivastava et al., VEEGAN, arXiv 1705.07761; Lin et al., PacGAN, arXiv 1712.04086. The
        reverse divergence, KL(generated || real), stays finite if modes are missing. As in PacGAN's code it is computed
        from the high-quality samples only.
    """
    modes, dimension = mixture.centres.shape
    if samples.dim() != 2 or samples.shape[1] != dimension or len(samples) == 0:
        raise ValueError(f"samples has shape {tuple(samples.shape)}; expected [N, {dimension}] with N at least 1")
    if not samples.isfinite().all():
        raise ValueError("samples hold NaN or infinite values; expected finite ones: the generator has diverged")
    centres = mixture.centres.to(samples.device, torch.float64)
    # Not by a matrix product, which loses precision for distances that are small compared with the centres.
    distances = torch.cdist(samples.double(), centres, compute_mode="donot_use_mm_for_euclid_dist")
    nearest, mode = distances.min(1)
    good = mode[nearest <= DEVIATIONS * mixture.deviation]
    counts = torch.bincount(good, minlength=modes)
    shares = counts.double() / len(good)
    reverse_kl = math.log(modes) - float(torch.special.entr(shares).sum())
    # Rounding can make it slightly negative.
    reverse_kl = max(reverse_kl, 0.0) if len(good) else math.nan
    return ModeCoverage(int((counts > 0).sum()), modes, len(good) / len(samples), reverse_kl)
