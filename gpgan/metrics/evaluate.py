"""Measures an evaluation: every metric's score beside its floor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from gpgan.metrics.ladder import Ladder
from gpgan.metrics.metric import Evaluation, Metric, Result, Score
from gpgan.metrics.registry import METRICS
from gpgan.metrics.sample_set import SampleSet
from gpgan.util.nearest import nearest

ALL = "all"


def evaluate(
    evaluation: Evaluation,
    draws: Sequence[SampleSet] = (),
    names: Sequence[str] = (ALL,),
    *,
    strict: bool = True,
    ladder: Ladder | None = None,
) -> dict[str, Result]:
    """The results of the named metrics, in the order of the registry.

    Args:
        evaluation: The samples.
        draws: Sets of real samples, each as large as the fakes and disjoint from the others and from
            ``evaluation.real``: they are measured in place of the fakes, which gives the floor.
        names: Of metrics; "all" for every metric that applies.
        strict: Whether a named metric that does not apply is an error; else it is left out.
        ladder: Of the data, to place the scores on.

    Raises:
        ValueError: A name is unknown, or a metric does not apply; the message names the fix.
    """
    named = chosen(names)
    parts = {
        metric: evaluation.first(metric.most) if metric.most else evaluation
        for metric in METRICS.values()
        if metric.name in named
    }
    refused = {metric: reason for metric, part in parts.items() if (reason := metric.refuses(part))}
    if refused and strict and ALL not in names:  # before features are computed, which takes far longer
        raise ValueError("; ".join(f"{metric.name}: {reason}" for metric, reason in refused.items()))
    return {
        metric.name: _result(metric, part, evaluation, draws, ladder)
        for metric, part in parts.items()
        if metric not in refused
    }


def chosen(names: Sequence[str]) -> list[str]:
    """The names, with "all" spelled out; raises ValueError for an unknown one."""
    for name in names:
        if name not in METRICS and name != ALL:
            raise ValueError(f"metrics has {name!r}; expected {ALL}, {', '.join(METRICS)}{nearest(name, METRICS)}")
    return list(METRICS) if ALL in names else list(names)


def _result(
    metric: Metric, part: Evaluation, whole: Evaluation, draws: Sequence[SampleSet], ladder: Ladder | None
) -> Result:
    score = metric.measure(part)
    floors = _floors(metric, part, whole.real, draws) if metric.floored else []
    value = _finite(score.value)
    return Result(
        score=value,
        floor=sum(floors) / len(floors) if floors else None,
        deviation=_deviation(floors),
        n=len(part.fake),
        draws=len(floors),
        settings=score.settings,
        details={name: _finite(each) for name, each in score.details.items()},
        place="" if ladder is None or value is None else ladder.place(metric, value, len(whole.fake)),
        note=metric.warn(part),
    )


def _floors(metric: Metric, part: Evaluation, real: SampleSet, draws: Sequence[SampleSet]) -> list[float]:
    """What real samples score; kept with the real samples, under the keys of the others that it depends on."""
    if metric.floor is None and not draws:
        return []

    def measure() -> torch.Tensor:
        if metric.floor is not None:
            scores: list[Score] = [metric.floor(part)]
        else:
            n = len(part.fake)
            scores = [metric.measure(replace(part, fake=draw.first(n))) for draw in draws]
        return torch.tensor([score.value for score in scores], dtype=torch.float64)

    others = " ".join(each.key for each in (*draws, *((part.training,) if part.training else ())))
    values = real.derived(f"floor of {metric.name}, {len(part.fake)} samples of {others}", measure)
    return [value for value in values.tolist() if math.isfinite(value)]


def _deviation(values: Sequence[float]) -> float | None:
    return float(torch.tensor(values, dtype=torch.float64).std()) if len(values) > 1 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_json(results: Mapping[str, Result]) -> dict[str, Any]:
    """Results as plain values, under the names of the metrics."""
    return {
        name: {
            "score": each.score,
            "floor": each.floor,
            "floor_deviation": each.deviation,
            "n": each.n,
            "draws": each.draws,
            "settings": dict(each.settings),
            "details": dict(each.details),
            "place": each.place,
            "note": each.note,
        }
        for name, each in results.items()
    }
