"""The metrics by name. To add one, add a file with its METRIC and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpgan.metrics import modes, norms, restoration, transport
from gpgan.metrics.evaluation import Evaluation, Values

METRICS = {
    metric.name: metric
    for metric in (
        *(transport.METRIC, norms.METRIC, modes.METRIC),
        *(restoration.PSNR, restoration.SSIM, restoration.DETAIL_ENERGY),
    )
}


def measure(evaluation: Evaluation, names: Sequence[str] = tuple(METRICS)) -> Values:
    """The numbers of the named metrics, by default all, that apply to an evaluation."""
    values: Values = {}
    for name in names:
        if METRICS[name].applies(evaluation):
            values |= METRICS[name].measure(evaluation)
    return values


def rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines (label, text) for the console, for the metrics that were measured."""
    return [row for metric in METRICS.values() for row in metric.rows(values)]
