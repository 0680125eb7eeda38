"""The energy of restored images at high frequencies, relative to the truth."""

from __future__ import annotations

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.restoration import detail, needs_truths, pairs


def _measure(evaluation: Evaluation) -> Score:
    return Score(detail(*pairs(evaluation)))


METRIC = Metric("detail", "Detail", _measure, "", refuses=needs_truths, floored=False)
