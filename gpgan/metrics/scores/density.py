"""Density: how crowded with real neighbourhoods the places of generated samples are."""

from __future__ import annotations

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.neighbourhoods import K, measured, refuses


def _measure(evaluation: Evaluation) -> Score:
    return Score(measured(evaluation).density, settings={"k": K})


METRIC = Metric("density", "Density", _measure, "higher", refuses=refuses, sees=("noise",))
