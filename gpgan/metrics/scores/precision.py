"""Precision: the share of generated samples that look like real ones."""

from __future__ import annotations

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.neighbourhoods import K, measured, refuses


def _measure(evaluation: Evaluation) -> Score:
    return Score(measured(evaluation).precision, settings={"k": K})


METRIC = Metric("precision", "Precision", _measure, "higher", refuses=refuses)
