"""The critic's estimate and its gradient norm, for critics of which both are known."""

import pytest
import torch
from feature_sets import evaluation, normals
from torch import nn

from gpgan.metrics.metric import CriticPairs
from gpgan.metrics.registry import METRICS

ESTIMATE, NORM = METRICS["critic_estimate"], METRICS["gradient_norm"]


def linear(*weights):
    critic = nn.Linear(len(weights), 1)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([weights]))
    return critic


class Square(nn.Module):
    """|x|^2 / 2 times a factor per label; its gradient is x times the factor."""

    def forward(self, x, factor=1.0):
        return x.square().sum(1) / 2 * factor


def pairs(critic, real, fake, **more):
    return evaluation(fake, real, critic=CriticPairs(critic, real, fake, **more))


@pytest.mark.parametrize("slope", [0.1, 2.0])
def test_the_estimate_does_not_depend_on_the_slope(slope):
    """W1 is 1 for a shift by 1; a linear critic along it attains it."""
    fake = normals(200, 2)
    made = pairs(linear(slope, 0.0), fake + torch.tensor([1.0, 0.0]), fake)
    score = ESTIMATE.measure(made)
    assert score.value == pytest.approx(1, rel=1e-4)
    assert score.details == {"raw": pytest.approx(slope, rel=1e-4), "slope": pytest.approx(slope, rel=1e-4)}
    assert score.settings == {"samples": 200}


def test_the_estimate_of_fresh_samples():
    """As printed in other places: 2 times too large without the division."""
    made = pairs(linear(2.0, 0.0), normals(4000, 2, seed=1) + torch.tensor([1.0, 0.0]), normals(4000, 2))
    score = ESTIMATE.measure(made)
    assert (score.details["raw"], score.value) == (pytest.approx(2, rel=0.06), pytest.approx(1, rel=0.06))


def test_the_mean_slope_counts():
    real, fake = torch.tensor([[4.0], [6.0]]), torch.tensor([[0.0], [0.0]])
    made = pairs(Square(), real, fake)
    score = ESTIMATE.measure(made)
    assert score.details["raw"] == pytest.approx((8 + 18) / 2)
    assert score.details["slope"] == pytest.approx(NORM.measure(made).value)
    assert score.value == pytest.approx(13 / score.details["slope"])


@pytest.mark.filterwarnings("ignore:critic's gradient is zero")
def test_a_critic_without_slope():
    score = ESTIMATE.measure(pairs(linear(0.0, 0.0), normals(5, 2), normals(5, 2)))
    assert score.value != score.value


def test_what_has_no_estimate():
    made = pairs(linear(1.0), normals(5, 1), normals(5, 1), objective="hinge")
    assert ESTIMATE.refuses(made) == ("the objective is hinge, whose critic does not estimate W1; expected wasserstein")
    assert NORM.refuses(made) == ""
    for metric in (ESTIMATE, NORM):
        assert metric.refuses(evaluation(normals(5, 1), normals(5, 1))).startswith("there is no critic; expected a run")
    assert ESTIMATE.refuses(pairs(linear(1.0), normals(5, 1), normals(5, 1))) == ""


def test_the_norm_of_a_linear_critic():
    score = NORM.measure(pairs(linear(3.0, 4.0), normals(50, 2), normals(50, 2, seed=1)))
    assert score.value == pytest.approx(5, rel=1e-6)
    assert score.details["std"] == pytest.approx(0, abs=1e-5)
    assert score.details["share above 1"] == 1


def test_statistics_of_known_norms():
    """Real and fake are equal, so all interpolates are; the norms are 0, 1, .. 100, in hundredths of 50."""
    x = torch.arange(101.0)[:, None] / 50
    score = NORM.measure(pairs(Square(), x, x.clone()))
    assert score.value == pytest.approx(1, rel=1e-6)
    assert score.details == {
        "std": pytest.approx(float(x.double().std(correction=0)), rel=1e-6),
        "max": pytest.approx(2),
        "percentile 5": pytest.approx(0.1),
        "percentile 50": pytest.approx(1),
        "percentile 95": pytest.approx(1.9),
        "share above 1": pytest.approx(50 / 101),
    }
    assert score.settings == {"interpolates": 101}


def test_labels_reach_the_critic_and_gradients_are_left_alone():
    critic, x = Square(), torch.ones(3, 1)
    made = pairs(critic, x, x.clone(), args=(torch.tensor([1.0, 2.0, 3.0]),))
    assert NORM.measure(made).value == pytest.approx(2)
    assert ESTIMATE.measure(made).details == {"raw": 0, "slope": pytest.approx(2)}
    flat = linear(1.0)
    NORM.measure(pairs(flat, x, x + 1))
    assert flat.weight.grad is None
