"""Recall: the share of real samples that the generated ones surround."""

from __future__ import annotations

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.neighbourhoods import K, measured, refuses


def _measure(evaluation: Evaluation) -> Score:
    return Score(measured(evaluation).recall, settings={"k": K})


METRIC = Metric("recall", "Recall", _measure, "higher", refuses=refuses, sees=("repeats", "blur"))
