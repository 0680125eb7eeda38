"""Scores beside their floors, with metrics whose values are known."""

import math

import pytest
import torch

from gpgan.metrics import evaluate as module
from gpgan.metrics.evaluate import as_json, evaluate
from gpgan.metrics.features.raw import Raw
from gpgan.metrics.ladder import Ladder
from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.sample_set import SampleSet


def mean_of(evaluation):
    return Score(float(evaluation.fake.features.mean()), {"largest": float(evaluation.fake.features.max())}, {"k": 5})


def metrics(*changes):
    made = [Metric(**{"name": f"m{i}", "label": f"M{i}", "measure": mean_of, **each}) for i, each in enumerate(changes)]
    return {metric.name: metric for metric in made}


def samples(*values):
    return SampleSet(torch.tensor(values)[:, None], Raw((1,)))


FAKE, REAL = samples(3.0, 5.0), samples(0.0, 0.0)
DRAWS = (samples(0.0, 1.0), samples(1.0, 2.0))


def measured(monkeypatch, *changes, names=("all",), draws=DRAWS, evaluation=None, **more):
    monkeypatch.setattr(module, "METRICS", metrics(*changes))
    return evaluate(evaluation or Evaluation(FAKE, samples(0.0, 0.0)), draws, names, **more)


def test_a_score_has_its_floor_with_the_deviation_of_one_draw(monkeypatch):
    result = measured(monkeypatch, {})["m0"]
    assert (result.score, result.floor, result.n, result.draws) == (4.0, 1.0, 2, 2)
    assert result.deviation == pytest.approx(math.sqrt(0.5))  # of 0.5 and 1.5
    assert (dict(result.settings), dict(result.details)) == ({"k": 5}, {"largest": 5.0})


@pytest.mark.parametrize(("draws", "floor", "deviation"), [((), None, None), (DRAWS[:1], 0.5, None)])
def test_few_draws(monkeypatch, draws, floor, deviation):
    result = measured(monkeypatch, {}, draws=draws)["m0"]
    assert (result.floor, result.deviation) == (floor, deviation)


def test_metrics_with_another_floor_or_none(monkeypatch):
    own = measured(monkeypatch, {"floor": lambda evaluation: Score(7.0)}, {"floored": False})
    assert (own["m0"].floor, own["m0"].deviation, own["m1"].floor) == (7.0, None, None)


def test_the_floor_is_measured_once_per_set_of_real_samples(monkeypatch):
    seen = []

    def counted(evaluation):
        seen.append(evaluation.fake)
        return mean_of(evaluation)

    evaluation = Evaluation(FAKE, samples(0.0, 0.0))
    for _ in range(2):
        measured(monkeypatch, {"measure": counted}, evaluation=evaluation)
    assert seen == [FAKE, *DRAWS, FAKE]


def test_a_metric_that_takes_few_samples_says_so(monkeypatch):
    result = measured(monkeypatch, {"most": 1})["m0"]
    assert (result.score, result.floor, result.n) == (3.0, 0.5, 1)


def test_what_does_not_apply(monkeypatch):
    refusing = {"refuses": lambda evaluation: "n is 2; expected 3 or more: use m1"}
    assert list(measured(monkeypatch, refusing, {})) == ["m1"]
    assert list(measured(monkeypatch, refusing, {}, names=["m0", "m1"], strict=False)) == ["m1"]
    with pytest.raises(ValueError, match=r"^m0: n is 2; expected 3 or more: use m1$"):
        measured(monkeypatch, refusing, {}, names=["m0", "m1"])


def test_unknown_names(monkeypatch):
    with pytest.raises(ValueError, match=r"metrics has 'm9'; expected all, m0"):
        measured(monkeypatch, {}, names=["m9"])


def test_scores_that_are_not_finite_are_none_in_json(monkeypatch):
    results = measured(monkeypatch, {"measure": lambda evaluation: Score(math.inf, {"a": math.nan})})
    line = as_json(results)["m0"]
    assert (line["score"], line["floor"], line["details"]) == (None, None, {"a": None})


def test_features_that_are_not_finite(monkeypatch):
    with pytest.raises(ValueError, match=r"1 of 2 samples or their features by raw are not finite; expected finite"):
        measured(monkeypatch, {}, evaluation=Evaluation(samples(1.0, math.nan), samples(0.0, 0.0)))


LADDER = Ladder({"n": 2}, {"blur": {"m0": [(0, 1.0), (0.5, 3.0), (1.0, 5.0)]}, "noise": {"m0": [(0, 1.0), (0.1, 2.0)]}})


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ((1.0, 0.0), "as good as real samples"),
        ((3.0, 3.0), "as blur 0.5"),
        ((3.0, 5.0), "as blur 0.75"),
        ((9.0, 9.0), "worse than blur 1"),
    ],
)
def test_places_on_a_ladder(monkeypatch, values, place):
    evaluation = Evaluation(samples(*values), samples(0.0, 0.0))
    result = measured(monkeypatch, {"sees": ("blur", "noise")}, {}, evaluation=evaluation, ladder=LADDER)
    assert (result["m0"].place, result["m1"].place) == (place, "")


def test_a_score_within_the_chance_of_the_floor_is_as_good_as_real_samples(monkeypatch):
    ladder = Ladder({"n": 2}, LADDER.rungs, {"m0": 0.6})
    for values, place in (((2.0, 2.0), "as good as real samples"), ((2.4, 2.4), "as blur 0.35")):
        evaluation = Evaluation(samples(*values), samples(0.0, 0.0))
        result = measured(monkeypatch, {"sees": ("blur",)}, evaluation=evaluation, ladder=ladder)
        assert result["m0"].place == place


def test_places_of_metrics_where_more_is_better(monkeypatch):
    ladder = Ladder({"n": 2}, {"repeats": {"m0": [(0, 0.9), (2, 0.5), (4, 0.1)]}})
    evaluation = Evaluation(samples(0.3, 0.3), samples(0.0, 0.0))
    changes = {"sees": ("repeats",), "better": "higher"}
    assert (
        measured(monkeypatch, changes, evaluation=evaluation, ladder=ladder)["m0"].place == "as every image 3.0 times"
    )


def test_only_unbiased_metrics_are_placed_among_other_numbers_of_samples(monkeypatch):
    ladder = Ladder({"n": 1000}, LADDER.rungs)
    results = measured(monkeypatch, {"sees": ("blur",)}, ladder=ladder)
    assert results["m0"].place == ""
    results = measured(monkeypatch, {"sees": ("blur",), "unbiased": True}, ladder=ladder)
    assert results["m0"].place == "as blur 0.75"
