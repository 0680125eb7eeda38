"""What clipping does to a critic and the penalty does not, against the best critic and against geometric series."""

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
    assert found["share_linear"] == pytest.approx(1)
    assert found["share_of_best"] == pytest.approx(1)
    assert found["estimate"] == pytest.approx(7, abs=1)
    mixed = clipping.judge(Plane(), x, y, scores + scores.std() * noise)
    assert mixed["share_of_best"] == pytest.approx(0.5, abs=0.06)


def test_gradients_by_layer_are_those_of_the_chain_rule():
    critic = torch.nn.Sequential(
        torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)
    ).double()
    with torch.no_grad():
        for layer, weight in zip(critic[::2], ([[1, 0], [0, 1]], [[2, 0], [0, 2]], [[3, 4]]), strict=True):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.fill_(0)
    # Positive everywhere, so that nothing is cut: 5 at the last hidden layer, 2 * 5 at the first; four samples, each with
    # 1/2 from the mean over its two.
    x, y = torch.ones(2, 2), torch.full((2, 2), 2.0)
    assert clipping.layer_gradients(critic, x, y).tolist() == pytest.approx([10, 5])


@pytest.mark.parametrize("name", SETS)
def test_value_surfaces(numbers, name):
    def of(what, way):
        return numbers[f"{what}_{name}_{way}"]

    # A slope near 1, from either side; a soft penalty of weight 1 lets it be above.
    assert 0.7 < of("slope_median", "penalty") < 2
    assert 1 <= of("slope_largest", "penalty") < 3
    # At most c * width a layer, twice that of the first: weights at 0.001 leave less than 64^3 * 2 * 1e-12.
    assert 0 < of("slope_largest", "clip_0.001") < 2**0.5 * 64**3 * 0.001**4
    assert of("slope_largest", "clip_1") > 1000
    assert of("slope_largest", "clip_1") < 2**0.5 * 64**3
    # The tight one is nearly a plane, and only the penalty's shows what the best critic shows.
    assert of("share_linear", "clip_0.001") > 0.4
    assert of("share_linear", "penalty") < 0.1
    assert of("share_of_best", "clip_0.001") < 0.45
    assert of("share_of_best", "clip_1") < of("share_of_best", "penalty") - 0.05
    assert of("share_of_best", "penalty") > 0.75
    # The dual form: means differ by at most the largest slope times W1.
    for way in clipping.WAYS:
        assert 0 < of("estimate", way) <= of("slope_largest", way) * numbers[f"w1_{name}"]
    # And with the penalty by about W1, where clipping is off by orders of magnitude.
    assert 0.8 < of("estimate", "penalty") / numbers[f"w1_{name}"] < 2


def test_gradients_vanish_and_explode_with_clipping_and_stay_level_with_the_penalty(numbers):
    ratio = {way: numbers[f"deep_gradient_first_over_last_{way}"] for way in clipping.DEEP_WAYS}
    # Ten layers back from the last hidden layer, each by less than 64 times the bound.
    assert 1e-30 < ratio["clip_0.001"] < (64 * 0.001) ** 10
    assert 1e-18 < ratio["clip_0.01"] < 1e-8
    assert 1e3 < ratio["clip_0.1"] < (64 * 0.1) ** 10
    assert 0.1 < ratio["penalty"] < 10


def test_clipping_pushes_weights_to_the_bounds_and_the_penalty_does_not(numbers):
    share = {way: numbers[f"deep_weights_at_the_extremes_{way}"] for way in clipping.DEEP_WAYS}
    assert share["clip_0.001"] > 0.9
    assert share["clip_0.01"] > 0.9
    assert share["clip_0.1"] > 0.5
    assert share["penalty"] < 0.01


def test_what_is_said_is_what_was_found(findings, numbers):
    largest = [numbers[f"slope_largest_{name}_penalty"] for name in SETS]
    assert f"with the penalty {min(largest):.1f} to {max(largest):.1f}" in findings.see[0]
    best = [numbers[f"share_of_best_{name}_penalty"] for name in SETS]
    assert f"{min(best):.0%} to {max(best):.0%} (penalty)" in findings.see[1]
    assert f"gradient penalty {numbers['deep_gradient_first_over_last_penalty']:.2g}" in findings.see[2]


def test_the_figure_has_nine_surfaces_and_three_panels_below(findings):
    axes = findings.figure.axes
    assert len(axes) == 12
    # A plane's contours, or a surface's: the panels are drawn from the critics, each from its own.
    assert len({tuple(a.collections[0].get_paths()[5].vertices[:3].flatten()) for a in axes[:9]}) == 9
    below = axes[9]
    assert {line.get_label() for line in below.lines} == {clipping.NAMES[way] for way in clipping.DEEP_WAYS}
    assert all(len(line.get_ydata()) == clipping.DEEP for line in below.lines)
    assert all(line.get_ydata()[-1] == 1 for line in below.lines)
