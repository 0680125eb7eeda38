"""The critic's gradient norm between real and generated samples, where the penalty is taken."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.penalty import gradient_penalty

PERCENTILES = (5, 50, 95)


def norms_of(evaluation: Evaluation) -> Tensor:
    """The gradient norms ``[B]`` at random interpolates, float64 on the CPU."""
    pairs = evaluation.critic
    assert pairs is not None
    with torch.enable_grad():
        _, norms = gradient_penalty(
            pairs.critic, pairs.real, pairs.fake, critic_args=pairs.args, generator=evaluation.rng(), return_norms=True
        )
    return norms.double().cpu()


def _measure(evaluation: Evaluation) -> Score:
    norms = norms_of(evaluation)
    details = {
        "std": float(norms.std(correction=0)),
        "max": float(norms.max()),
        **{f"percentile {q}": float(norms.quantile(q / 100)) for q in PERCENTILES},
        "share above 1": float((norms > 1).double().mean()),
    }
    return Score(float(norms.mean()), details, {"interpolates": len(norms)})


def needs_critic(evaluation: Evaluation) -> str:
    """Why there is no critic to measure, or ""."""
    return "" if evaluation.critic is not None else "there is no critic; expected a run of a task that trains one"


METRIC = Metric("gradient_norm", "Gradient norm", _measure, "", refuses=needs_critic, floored=False)
