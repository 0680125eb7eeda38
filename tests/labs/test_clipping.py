"""Clipped and penalised critics, compared with the best critic and with geometric series."""

import math
import re

import numpy as np
import pytest
import torch
from whole_lab import found_by

from gpgan.labs import clipping
from gpgan.metrics import wasserstein1

SETS = ("ring", "grid", "swissroll")


@pytest.fixture(scope="module")
def findings():
    return found_by(clipping)


@pytest.fixture(scope="module")
def numbers(findings):
    return findings.numbers


def test_the_data_are_in_the_units_of_the_original_code():
    sets = clipping.data_sets()
    # Modes at radius 2 / sqrt(2), and at {-4, -2, 0, 2, 4} / sqrt(8).
    assert sets["ring"].norm(dim=1).mean() == pytest.approx(2**0.5, rel=1e-3)
    assert sets["grid"].abs().amax() == pytest.approx(2**0.5, abs=0.1)
    assert sets["grid"].std() == pytest.approx(1.0, abs=0.01)


def test_the_noise_has_variance_one():
    rng = torch.Generator().manual_seed(5)
    still = torch.zeros(10, 2)
    assert clipping.fake(still, 20_000, rng).var(dim=0).tolist() == pytest.approx([1, 1], abs=0.05)


def test_the_best_critic_attains_w1_and_is_lipschitz():
    points = clipping.data_sets()["swissroll"]
    rng = torch.Generator().manual_seed(6)
    x, y = clipping.real(points, 200, rng), clipping.fake(points, 150, rng)
    w1, scores = clipping.potential(x, y)
    assert w1 == pytest.approx(wasserstein1(x, y), rel=1e-9)
    assert scores[:200].mean() - scores[200:].mean() == pytest.approx(w1, rel=1e-6)
    steps = scores[:200, None] - scores[None, 200:]
    assert (steps <= torch.cdist(x.double(), y.double()).numpy() + 1e-9).all()


def test_a_critic_is_judged_rightly_where_the_answer_is_known():
    class Plane(torch.nn.Module):
        def forward(self, x):
            return 3 * x[:, 0] + 4 * x[:, 1] + 7

    rng = torch.Generator().manual_seed(7)
    x, y = torch.randn(300, 2, generator=rng) + 1, torch.randn(300, 2, generator=rng)
    scores = Plane()(torch.cat([x, y]).double()).numpy()
    noise = np.random.default_rng(0).normal(size=600)
    found = clipping.judge(Plane(), x, y, -2 * scores + 11)
    assert found["slope_largest"] == pytest.approx(5)
    assert found["slope_median"] == pytest.approx(5)
    assert found["share_of_best"] == pytest.approx(1)
    assert found["estimate"] == pytest.approx(7, abs=1)
    mixed = clipping.judge(Plane(), x, y, scores + scores.std() * noise)
    assert mixed["share_of_best"] == pytest.approx(0.5, abs=0.06)


def test_the_share_below_the_centre():
    # Distances from the unit circle: 1 at the centre, and 0.5, 0.5, 1 and 0.5.
    x = torch.tensor([[0.5, 0.0], [0.0, -0.5], [2.0, 0.0], [0.0, 1.5]] * 5)
    assert clipping.share_below_centre(lambda x: x.norm(dim=1).sub(1).abs(), x) == 0.75


def test_gradients_by_layer_are_those_of_the_chain_rule():
    critic = torch.nn.Sequential(
        torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)
    ).double()
    with torch.no_grad():
        for layer, weight in zip(critic[::2], ([[1, 0], [0, 1]], [[2, 0], [0, 2]], [[3, 4]]), strict=True):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.fill_(0)
    # Positive everywhere, so that no ReLU is inactive: 5 at the last hidden layer, 2 * 5 at the first. There are four
    # samples, each with a factor of 1/2 from the mean over two.
    x, y = torch.ones(2, 2), torch.full((2, 2), 2.0)
    assert clipping.layer_gradients(critic, x, y).tolist() == pytest.approx([10, 5])


@pytest.mark.parametrize("name", SETS)
def test_value_surfaces(numbers, name):
    def of(what, way):
        return numbers[f"{what}_{name}_{way}"]

    w1 = numbers[f"w1_{name}"]
    # With a penalty of weight 1, the best slope where mass moves by d is 1 + d / 2, and W1 is the mean of d. The largest
    # slope on a minibatch is above that, here by a factor below 2.
    assert of("slope_median", "penalty") == pytest.approx(1 + w1 / 2, rel=0.25)
    assert of("slope_median", "penalty") <= of("slope_largest", "penalty") < 2 * (1 + w1 / 2)
    # At most c * width per layer, sqrt(2) c at the first: sqrt(2) 64^3 c^4. Four seeds reached 0.09 to 0.17 of it.
    for way, bound in (("clip_0.001", 0.001), ("clip_1", 1.0)):
        assert 0.05 < of("slope_largest", way) / (2**0.5 * 64**3 * bound**4) < 1
        assert 0.3 * of("slope_largest", way) < of("slope_median", way) <= of("slope_largest", way)
    # Shares of a variance. Only the penalised critic shows what the best critic shows; the limits for clipping are
    # those measured over several seeds, with a margin.
    assert 0.2 < of("share_of_best", "clip_0.001") < of("share_of_best", "penalty") - 0.05
    assert 0.35 < of("share_of_best", "clip_1") < of("share_of_best", "penalty") - 0.05
    assert 0.75 < of("share_of_best", "penalty") <= 1
    # The dual form: the means differ by at most the largest slope times W1.
    for way in clipping.WAYS:
        assert 0 < of("estimate", way) <= of("slope_largest", way) * w1
    # With the penalty they differ by about W1; clipping is off by orders of magnitude.
    assert 0.8 < of("estimate", "penalty") / w1 < 2


def test_clipped_critics_score_the_empty_centre_of_the_ring_above_its_samples(numbers):
    share = {way: numbers[f"share_below_centre_ring_{way}"] for way in clipping.WAYS}
    # The best critic falls from the modes to the centre, over a distance of sqrt(2), so all samples are above it.
    assert 0 <= share["penalty"] < 0.05
    assert 0.95 < share["clip_0.001"] <= 1
    assert 0.95 < share["clip_1"] <= 1


def test_gradients_vanish_and_explode_with_clipping_and_stay_level_with_the_penalty(numbers):
    ratio = {way: numbers[f"deep_gradient_first_over_last_{way}"] for way in clipping.DEEP_WAYS}
    # Ten layers back from the last hidden layer. With weights at the bound that keep their initial signs, and half of the
    # units active, each layer multiplies by sqrt(64 / 2) times the bound.
    for way, bound in (("clip_0.001", 0.001), ("clip_0.01", 0.01)):
        assert ratio[way] ** 0.1 == pytest.approx(32**0.5 * bound, rel=0.15)
    # At most 64 times the bound. Five seeds gave 3.2 to 3.6 per layer; random signs would give less than 1.
    assert 2.7 < ratio["clip_0.1"] ** 0.1 < 4.2 < 64 * 0.1
    assert 0.3 < ratio["penalty"] < 2


def test_the_first_clipping_and_the_training_put_weights_on_the_bounds(numbers):
    share = {way: numbers[f"deep_weights_at_the_extremes_{way}"] for way in clipping.DEEP_WAYS}
    first = {
        way: numbers[f"deep_weights_the_first_clip_bounds_{way}"] for way in clipping.DEEP_WAYS if way != "penalty"
    }
    # The initial weights are normal with He's variance for a LeakyReLU of slope 0.2.
    for way, bound in (("clip_0.001", 0.001), ("clip_0.01", 0.01), ("clip_0.1", 0.1)):
        assert first[way] == pytest.approx(math.erfc(bound / (2 / 1.04 / 64) ** 0.5 / 2**0.5), abs=0.01)
    # They stay at the tighter bounds; at the loosest one there are more at the end (+ 0.13 to 0.15 over five seeds).
    for way in ("clip_0.001", "clip_0.01"):
        assert share[way] == pytest.approx(first[way], abs=0.005)
    assert first["clip_0.1"] + 0.08 < share["clip_0.1"] < first["clip_0.1"] + 0.25
    assert 0 < share["penalty"] < 0.01


def test_what_is_said_is_what_was_found(findings, numbers):
    largest = [numbers[f"slope_largest_{name}_penalty"] for name in SETS]
    assert f"{min(largest):.1f} to {max(largest):.1f} (penalty)" in findings.see[0]
    best = [numbers[f"share_of_best_{name}_penalty"] for name in SETS]
    assert f"{min(best):.0%} to {max(best):.0%} (penalty)" in findings.see[1]
    assert f"{numbers['share_below_centre_ring_penalty']:.0%} (gradient penalty)" in findings.see[1]
    assert f"{numbers['deep_gradient_first_over_last_penalty']:.2g} (gradient penalty)" in findings.see[2]
    for line in findings.see:
        assert not re.search(r"\d [-+\d]", line), "two numbers in a row"
    assert f"{numbers['deep_weights_at_the_extremes_clip_0.1']:.0%} (at 0.1)" in findings.see[2]


def test_the_figure_has_nine_surfaces_and_three_panels_below(findings):
    axes = findings.figure.axes
    assert len(axes) == 12
    # Each panel is drawn from its own critic.
    assert len({tuple(a.collections[0].get_paths()[5].vertices[:3].flatten()) for a in axes[:9]}) == 9
    below = axes[9]
    assert {line.get_label() for line in below.lines} == {clipping.NAMES[way] for way in clipping.DEEP_WAYS}
    assert all(len(line.get_ydata()) == clipping.DEEP for line in below.lines)
    assert all(line.get_ydata()[-1] == 1 for line in below.lines)
    assert all(a.get_xlabel() and a.get_ylabel() for a in axes)
