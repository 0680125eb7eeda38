"""The mean structural similarity of restored images to the truth."""

from __future__ import annotations

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.restoration import needs_truths, pairs, ssim


def _measure(evaluation: Evaluation) -> Score:
    return Score(float(ssim(*pairs(evaluation)).mean()))


METRIC = Metric("ssim", "SSIM", _measure, "higher", refuses=needs_truths, floored=False)
