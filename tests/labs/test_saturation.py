"""How much of the generator's gradient each objective leaves on disjoint clouds."""

import math

import pytest
import torch
from whole_lab import found_by

from gpgan.labs import saturation


@pytest.fixture(scope="module")
def findings():
    return found_by(saturation)


@pytest.fixture(scope="module")
def numbers(findings):
    return findings.numbers


def test_minimax_dies_as_the_discriminator_trains(numbers):
    assert numbers["discriminator_steps"] == saturation.LOOKS[-1]
    # Initially scores are about 0 and slopes about 0.4: half of that, within a factor of 2.
    assert 0.1 < numbers["free_minimax_first_step"] < 0.4
    assert 0 < numbers["free_minimax_last_step"] < 1e-5
    assert numbers["free_minimax_largest"] < 1e-4


def test_minimax_dies_with_the_distance(numbers):
    assert 0 < numbers["free_minimax_farthest"] < numbers["free_minimax_nearest"] / 100
    assert numbers["free_minimax_nearest"] == numbers["free_minimax_largest"]


def test_non_saturating_does_not(numbers):
    # D is the logistic function of the score. Far from 0, minimax keeps exp(score) of the slope and non-saturating all of
    # it. Scores rise to the same amount above 0 on the real disc: over at least the gap between the discs, and at most
    # a little more than the distance between their centres.
    near, far = saturation.DISTANCES[0], saturation.DISTANCES[-1]
    for distance, end, slope in ((near, "nearest", "largest"), (far, "farthest", "smallest")):
        pull = numbers[f"free_non_saturating_{slope}"]
        rise = 2 * math.log(pull / numbers[f"free_minimax_{end}"])
        assert 0.7 * rise / distance < pull < rise / (distance - 2 * saturation.RADIUS)
    assert numbers["lipschitz_non_saturating_farthest"] == pytest.approx(1, abs=0.05)


def test_under_a_slope_of_1_minimax_falls_exponentially(numbers):
    # The logistic function of -d / 2, averaged over a disc, falls slightly slower than exp(-d / 2).
    assert numbers["lipschitz_minimax_rate_theory"] == pytest.approx(-0.5, abs=0.04)
    assert numbers["lipschitz_minimax_rate"] == pytest.approx(numbers["lipschitz_minimax_rate_theory"], rel=0.03)
    assert 0 <= numbers["lipschitz_minimax_error"] < 0.06
    # A disc's mean is slightly above the value at its centre, whose score is -d / 2.
    for distance, end in ((saturation.DISTANCES[0], "nearest"), (saturation.DISTANCES[-1], "farthest")):
        assert numbers[f"lipschitz_minimax_{end}"] == pytest.approx(1 / (1 + math.exp(distance / 2)), rel=0.08)


def test_wasserstein_stays_at_the_critics_slope(numbers):
    assert 0 <= numbers["wasserstein_error"] < 0.03
    assert 0.97 < numbers["wasserstein_smallest"] <= numbers["wasserstein_largest"] < 1.07


def test_pulls_of_a_critic_that_is_known():
    """score = -2 x: minimax sigmoid(score) * 2, non-saturating sigmoid(-score) * 2, Wasserstein 2."""
    critic = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
    with torch.no_grad():
        critic[0].weight.copy_(torch.tensor([[-2.0, 0.0]]))
        critic[0].bias.zero_()
    found = saturation.pulls(critic, 3.0, ("minimax", "non-saturating", "wasserstein"))
    points = saturation.disc(3.0)(saturation.FAKES, torch.Generator().manual_seed(1)).double()
    assert found["minimax"] == pytest.approx(float((2 / (1 + (2 * points[:, 0]).exp())).mean()), rel=1e-9)
    assert found["minimax"] + found["non-saturating"] == pytest.approx(2, rel=1e-9)
    assert found["wasserstein"] == pytest.approx(2, rel=1e-9)
    assert critic[0].weight.dtype == torch.float32


def test_the_discs_are_discs():
    points = saturation.disc(2.0)(20_000, torch.Generator().manual_seed(0)) - torch.tensor([2.0, 0.0])
    radii = points.norm(dim=1)
    assert radii.max() <= saturation.RADIUS + 1e-6
    # Uniform over the area: a quarter of the points are within half of the radius.
    assert float((radii < saturation.RADIUS / 2).double().mean()) == pytest.approx(0.25, abs=0.02)
    assert points.mean(0).abs().max() < 0.01
    assert min(saturation.DISTANCES) > 2 * saturation.RADIUS


def test_what_to_see_is_told_with_what_was_found(findings, numbers):
    assert f"{numbers['free_minimax_farthest']:.1e}" in findings.see[0]
    assert f"exp({numbers['lipschitz_minimax_rate']:.3f} d)" in findings.see[1]
    assert f"{numbers['wasserstein_largest']:.3f}" in findings.see[2]
    assert math.isfinite(sum(numbers.values()))
