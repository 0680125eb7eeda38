"""Coverage: the share of real samples that have a generated one in their neighbourhood."""

from __future__ import annotations

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.neighbourhoods import K, measured, refuses


def _measure(evaluation: Evaluation) -> Score:
    return Score(measured(evaluation).coverage, settings={"k": K})


METRIC = Metric(
    "coverage", "Coverage", _measure, "higher", refuses=refuses, sees=("repeats", "blur", "noise", "missing")
)
