"""Scores of predicted classes: the classifier score, class KL, modes of classes."""

import math

import pytest
import torch
from feature_sets import Classifier, classified, evaluation, normals, one_hot

from gpgan.data.dataset import Mixture
from gpgan.metrics.registry import METRICS
from gpgan.metrics.scores.class_kl import class_kl, class_shares
from gpgan.metrics.scores.classifier_score import classifier_score
from gpgan.metrics.scores.modes import stacked_modes

TEN = one_hot(*range(10), count=10)


def test_the_classifier_score_of_certain_and_of_equal_samples():
    assert classifier_score(TEN.repeat(5, 1)) == pytest.approx(10)
    assert classifier_score(torch.full((30, 10), 0.1)) == pytest.approx(1)
    assert classifier_score(TEN[:1].repeat(9, 1)) == pytest.approx(1)


def test_the_classifier_score_by_hand():
    """Rows (.8, .2) and (.4, .6), mean (.6, .4)."""
    kl = (
        0.8 * math.log(0.8 / 0.6) + 0.2 * math.log(0.2 / 0.4) + 0.4 * math.log(0.4 / 0.6) + 0.6 * math.log(0.6 / 0.4)
    ) / 2
    rows = torch.tensor([[0.8, 0.2], [0.4, 0.6]], dtype=torch.float64)
    assert classifier_score(rows) == pytest.approx(math.exp(kl), rel=1e-12)
    score = METRICS["classifier_score"].measure(classified(rows.float(), rows.float()))
    assert score.value == pytest.approx(math.exp(kl), rel=1e-6)
    assert score.settings == {"classifier": "made"}


def test_the_order_of_samples_does_not_matter():
    """Complaint: samples sorted by class score 1, in splits."""
    p = normals(200, 10).double().mul(3).softmax(1)
    by_class = p[p.argmax(1).argsort()]
    assert classifier_score(by_class) == pytest.approx(classifier_score(p), rel=1e-12)
    assert classifier_score(TEN.repeat_interleave(100, 0)) == pytest.approx(10)


def test_class_kl_by_hand():
    """Shares of the fakes 3/4, 1/4, 0; of 7 reals 4, 2, 1, to each of which half a sample is added."""
    fake, real = one_hot(0, 1, 0, 0, count=3), one_hot(0, 0, 1, 2, 0, 1, 0, count=3)
    p, q = [3 / 4, 1 / 4], [4.5 / 8.5, 2.5 / 8.5]
    expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert class_kl(fake, real) == pytest.approx(expected, rel=1e-12)
    score = METRICS["class_kl"].measure(classified(fake, real))
    assert score.value == pytest.approx(expected, rel=1e-12)
    assert score.details == pytest.approx(
        {"0": 0.75, "0, real": 4 / 7, "1": 0.25, "1, real": 2 / 7, "2": 0.0, "2, real": 1 / 7}
    )


def test_class_kl_of_missing_classes():
    real = TEN.repeat(1000, 1)
    assert class_kl(real, real) == pytest.approx(0, abs=1e-12)
    assert class_kl(TEN[:5].repeat(100, 1), real) == pytest.approx(math.log(2), rel=1e-6)
    assert math.isfinite(class_kl(TEN[9:], TEN[:9]))


def test_the_most_probable_class_counts():
    assert class_shares(torch.tensor([[0.4, 0.35, 0.25], [0.1, 0.2, 0.7]])).tolist() == [0.5, 0, 0.5]


def test_modes_of_classes():
    score = METRICS["modes"].measure(classified(one_hot(0, 2, 2, 2, count=4), TEN[:, :4]))
    reverse_kl = math.log(4) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    assert (score.value, score.details) == (2, {"modes": 4, "reverse_kl": pytest.approx(reverse_kl)})
    all_of_them = METRICS["modes"].measure(classified(TEN, TEN))
    assert (all_of_them.value, all_of_them.details["reverse_kl"]) == (10, pytest.approx(0, abs=1e-12))


def test_modes_of_a_mixture():
    """Centres 0 and 10 with deviation 1; samples are stored as (x - 5) / 5."""
    points = torch.tensor([0.0, 1.0, 2.9, 3.1])[:, None]
    made = evaluation(
        (points - 5) / 5, points, mixture=Mixture(torch.tensor([[0.0], [10.0]]), 1.0), scale=5.0, offset=5.0
    )
    score = METRICS["modes"].measure(made)
    assert score.value == 1
    assert score.details == {"modes": 2, "high_quality": 0.75, "reverse_kl": pytest.approx(math.log(2))}


def test_stacked_modes():
    digits = torch.tensor([[1, 2, 3], [1, 2, 3], [3, 2, 1], [0, 0, 0]])
    found, kl = stacked_modes(digits, 10)
    assert (found, kl) == (3, pytest.approx(math.log(1000) - 1.5 * math.log(2)))
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)
    assert stacked_modes(every, 4) == (64, pytest.approx(0, abs=1e-12))


@pytest.mark.parametrize("name", ["classifier_score", "class_kl", "modes"])
def test_without_a_classifier(name):
    assert METRICS[name].refuses(evaluation(TEN, TEN)).startswith("these features have no classes; expected a class")
    assert METRICS[name].refuses(classified(TEN, TEN)) == ""
    assert Classifier(3).classes == ["0", "1", "2"]
