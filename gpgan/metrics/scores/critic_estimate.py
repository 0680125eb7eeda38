"""The critic's estimate of W1 on held-out samples, divided by the slope that the critic has."""

from __future__ import annotations

import torch

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.gradient_norm import needs_critic, norms_of


@torch.no_grad()
def _measure(evaluation: Evaluation) -> Score:
    """mean f(real) - mean f(fake) over the mean gradient norm between them.

    The raw difference scales with the critic's slope, which the penalty's weight decides. The mean norm, not the largest,
    is the slope along the way from fake to real samples; the largest is that of a few points.
    """
    pairs = evaluation.critic
    assert pairs is not None
    real = pairs.critic(pairs.real, *pairs.args).double().mean()
    fake = pairs.critic(pairs.fake, *pairs.args).double().mean()
    raw, slope = float(real - fake), float(norms_of(evaluation).mean())
    return Score(raw / slope if slope else float("nan"), {"raw": raw, "slope": slope}, {"samples": len(pairs.real)})


def _refuses(evaluation: Evaluation) -> str:
    if reason := needs_critic(evaluation):
        return reason
    assert evaluation.critic is not None
    objective = evaluation.critic.objective
    if objective == "wasserstein":
        return ""
    return f"the objective is {objective}, whose critic does not estimate W1; expected wasserstein"


METRIC = Metric("critic_estimate", "Critic's estimate of W1", _measure, refuses=_refuses, floored=False)
