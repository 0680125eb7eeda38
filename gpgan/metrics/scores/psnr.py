"""The mean peak signal-to-noise ratio of restored images."""

from __future__ import annotations

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.restoration import MOST, needs_truths, pairs, psnr


def _measure(evaluation: Evaluation) -> Score:
    return Score(float(psnr(*pairs(evaluation)).clamp(max=MOST).mean()))


METRIC = Metric("psnr", "PSNR, dB", _measure, "higher", refuses=needs_truths, floored=False)
