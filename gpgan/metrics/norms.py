"""Gradient norms of a critic; they are near the penalty's target if training went well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpgan.metrics.evaluation import Evaluation, Metric, Values
from gpgan.penalty import Critic, gradient_penalty


@dataclass(frozen=True)
class GradientNorms:
    """Statistics of the per-sample gradient norms."""

    mean: float
    std: float
    """population standard deviation (divided by N, not N - 1)"""
    max: float


def gradient_norms(
    critic: Critic, real: Tensor, fake: Tensor, *, critic_args: Sequence[Any] = (), rng: torch.Generator
) -> GradientNorms:
    """Statistics of ``|grad critic(x)|`` at interpolates x of real and fake samples, where the penalty is taken too.

    Args:
        critic: From ``[B, ...]`` to scores ``[B, ...]``. Its weights and their gradients stay as they are.
        real: ``[B, ...]``.
        fake: ``[B, ...]``.
        critic_args: Passed to the critic after x (labels).
        rng: Draws the interpolation weights; on the device of the samples.

    Raises:
        TypeError, ValueError: As for ``gpgan.gradient_penalty``.

    Source:
        Gulrajani et al., arXiv 1704.00028, algorithm 1, whose penalty uses the same interpolates.
    """
    with torch.enable_grad():
        _, norms = gradient_penalty(critic, real, fake, critic_args=critic_args, generator=rng, return_norms=True)
    norms = norms.double()
    return GradientNorms(float(norms.mean()), float(norms.std(correction=0)), float(norms.max()))


def _measure(evaluation: Evaluation) -> Values:
    pairs = evaluation.critic
    assert pairs is not None
    norms = gradient_norms(pairs.critic, pairs.real, pairs.fake, critic_args=pairs.args, rng=evaluation.rng())
    return {"norm_mean": norms.mean, "norm_std": norms.std, "norm_max": norms.max}


def _rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "norm_mean" not in values:
        return []
    text = f"{values['norm_mean']:.3f} +- {values['norm_std']:.3f}, at most {values['norm_max']:.3f}"
    return [("gradient norm", text)]


METRIC = Metric("norms", _measure, _rows, lambda evaluation: evaluation.critic is not None)
