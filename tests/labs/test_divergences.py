"""Jensen-Shannon saturates at log 2, Wasserstein-1 is the distance, and three ways give one worked distance."""

import math

import pytest
import torch
from whole_lab import found_by

from gpgan.labs import divergences


@pytest.fixture(scope="module")
def findings():
    return found_by(divergences)


@pytest.fixture(scope="module")
def numbers(findings):
    return findings.numbers


def test_js_is_log_2_at_every_gap_but_0(numbers):
    assert numbers["js_same"] == pytest.approx(0, abs=1e-12)
    assert numbers["js_disjoint"] == pytest.approx(math.log(2), abs=1e-9)
    assert 0 <= numbers["js_disjoint_range"] < 1e-9
    assert 0 <= numbers["js_gradient_disjoint"] < 1e-9


def test_w1_is_the_gap(numbers):
    assert 0 <= numbers["w1_gap_error"] < 1e-9
    assert numbers["w1_gradient_right"] == pytest.approx(1, abs=1e-9)
    assert numbers["w1_gradient_left"] == pytest.approx(-1, abs=1e-9)
    assert 0 <= numbers["w1_gradient_error"] < 1e-9


def test_js_of_intervals_grows_with_the_share_that_does_not_overlap(numbers):
    assert numbers["js_intervals_half"] == pytest.approx(math.log(2) / 2, abs=1e-6)
    assert numbers["js_intervals_apart"] == pytest.approx(math.log(2), abs=1e-9)
    assert numbers["js_gradient_intervals_overlapping"] == pytest.approx(math.log(2), abs=1e-6)
    assert 0 <= numbers["js_gradient_intervals_apart"] < 1e-9
    assert numbers["w1_gradient_intervals_overlapping"] == pytest.approx(1, abs=1e-9)
    assert numbers["w1_gradient_intervals_apart"] == pytest.approx(1, abs=1e-9)


def test_point_masses_at_0_and_3(numbers):
    assert numbers["w1_point_masses"] == pytest.approx(3, abs=1e-9)
    assert numbers["js_point_masses"] == pytest.approx(math.log(2), abs=1e-9)


def test_the_worked_distance_in_three_ways(numbers):
    assert numbers["worked_anchor_cdf"] == pytest.approx(2, abs=1e-12)
    assert numbers["worked_anchor_exact"] == pytest.approx(2, abs=1e-9)
    assert numbers["worked_anchor_critic"] == pytest.approx(2, rel=0.03)
    # A 1-Lipschitz function gives at most the distance, and this critic is nearly 1-Lipschitz before scaling.
    assert numbers["worked_anchor_critic"] <= 2 + 1e-4
    difference, steepest = numbers["worked_anchor_critic_difference"], numbers["worked_anchor_critic_steepest"]
    assert numbers["worked_anchor_critic"] == pytest.approx(difference / steepest)
    # Its steepness c (F - G) / rho, beyond 1, is the best under a penalty of weight 1 / 2c, for the distribution functions
    # F and G and the density rho of the interpolates: rho of [0, 1] is 13/108 and of [1, 2] 35/108, where F - G is 1/3
    # and 2/3; the other half is the same.
    c = 1 / (2 * divergences.STAGES[-1][0])
    assert difference == pytest.approx(2 + c * 2 * ((1 / 3) ** 2 / (13 / 108) + (2 / 3) ** 2 / (35 / 108)), rel=0.005)
    assert steepest == pytest.approx(1 + c * (1 / 3) / (13 / 108), rel=0.02)


def test_the_distance_by_distribution_functions_of_other_points():
    x, y = torch.tensor([0.0, 5.0]), torch.tensor([1.0, 1.0, 3.0])
    # Sorted masses of 1/6: 0 0 0 5 5 5 to 1 1 1 1 3 3.
    assert divergences.by_distribution_functions(x, y) == pytest.approx((1 + 1 + 1 + 4 + 2 + 2) / 6)


def test_js_of_shares():
    # p = (1/2, 1/2, 0), q = (0, 1/2, 1/2): half of the mass overlaps.
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    assert divergences.js(x, y) == pytest.approx(math.log(2) / 2)
    # p = (3/4, 1/4), q = (1/4, 3/4), by the definition.
    x, y = torch.tensor([[0.0], [0.0], [0.0], [1.0]]), torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    wanted = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert divergences.js(x, y) == pytest.approx(wanted)


def test_the_slider_has_what_was_measured(findings):
    slider = findings.slider
    assert slider.positions[0] == -2
    assert slider.positions[-1] == 2
    assert set(slider.readings) == {"JS", "W1", "JS gradient", "W1 gradient"}
    assert not slider.joined, "a line over a jump"
    for values in (*slider.readings.values(), *slider.clouds.values()):
        assert len(values) == len(slider.positions)
    for at, gap in enumerate(slider.positions):
        assert slider.readings["W1"][at] == pytest.approx(abs(gap), abs=1e-9)
        assert all(x == 0 for x, _ in slider.clouds["real"][at])
        assert all(x == pytest.approx(gap) for x, _ in slider.clouds["generated"][at])


def test_what_to_see_is_told_with_what_was_found(findings, numbers):
    assert f"at every gap but 0 JS is {numbers['js_disjoint']:.4f}" in findings.see[0]
    assert "at gap 0 it is 0" in findings.see[0]
    assert findings.figure.axes[0].get_title() == "Lines: JS is log 2 at every gap but 0"
    assert f"{numbers['w1_gradient_intervals_apart']:.3f}" in findings.see[1]
    assert f"{numbers['worked_anchor_critic']:.4f} by a trained critic" in findings.see[2]
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in findings.figure.axes)
