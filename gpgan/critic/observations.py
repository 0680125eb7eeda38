"""What a step sees in its scores: a bounded critic under an objective of raw scores, samples that are not finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gpgan.critic.common import CriticLoss, CriticStats, Inputs
from gpgan.objectives import OBJECTIVES
from gpgan.objectives.least_squares import LEAST_SQUARES
from gpgan.util.errors import NotFiniteSamplesError
from gpgan.util.warn import warn_once

BOUNDED = {
    "SigmoidBackward0": "sigmoid",
    "HardsigmoidBackward0": "hardsigmoid",
    "SoftmaxBackward0": "softmax",
    "TanhBackward0": "tanh",
}
# Nodes that hand values on as they are, or average them.
PASSING = frozenset(
    {
        "AliasBackward0",
        "MeanBackward0",
        "MeanBackward1",
        "PermuteBackward0",
        "SelectBackward0",
        "SliceBackward0",
        "SqueezeBackward0",
        "SqueezeBackward1",
        "TBackward0",
        "ToCopyBackward0",
        "TransposeBackward0",
        "UnsafeViewBackward0",
        "UnsqueezeBackward0",
        "ViewBackward0",
    }
)


def warn_if_bounded(scores: Tensor, objective: CriticLoss) -> None:
    """Warns once that a critic ends in a bounded activation although its objective expects raw scores.

    Args:
        scores: ``[B, ...]``, with their graph.
        objective: As ``Objective.critic``. Nothing is known of one of the caller's own.
    """
    node = scores.grad_fn
    while node is not None and type(node).__name__ in PASSING:
        node = node.next_functions[0][0]
    activation = BOUNDED.get(type(node).__name__)
    if activation and any(each.critic == objective for each in OBJECTIVES.values() if each != LEAST_SQUARES):
        warn_once(
            f"critic ends in a {activation}, whose scores are bounded, but the objective expects raw scores, which have no "
            f"bounds. Drop the {activation}, or pass an objective that is made for it"
        )


def refuse_not_finite(inputs: Inputs, stats: CriticStats) -> None:
    """Raises if scores are not finite because samples are not. Reads one number; the samples only if that is not finite.

    Raises:
        NotFiniteSamplesError: The message names the argument and counts the samples.
    """
    # Of any score that is not finite, the largest difference is not either.
    if math.isfinite(torch.dist(stats.real_scores, stats.fake_scores, math.inf).item()):
        return
    for name, samples in (("real", inputs.real), ("fake", inputs.fake)):
        bad = int(samples.unsqueeze(-1).flatten(1).isfinite().all(1).logical_not().sum())
        if bad:
            raise NotFiniteSamplesError(
                f"{name} holds NaN or infinite values in {bad} of {len(samples)} samples; expected finite numbers. The "
                "critic's parameters are as they were: leave these samples out, or look at what made them"
            )
