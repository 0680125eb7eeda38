"""W2: the exact Wasserstein-2 distance between two sets of features."""

from __future__ import annotations

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.w1 import MOST
from gpgan.metrics.transport import wasserstein2


def _measure(evaluation: Evaluation) -> Score:
    return Score(
        wasserstein2(evaluation.fake.features, evaluation.real.features), settings={"cost": "squared Euclidean"}
    )


METRIC = Metric("w2", "W2", _measure, most=MOST)
