"""The bilinear game's five dynamics, against the closed forms of their eigenvalues."""

import numpy as np
import pytest
from whole_lab import found_by

from gpgan.labs import bilinear

ETA, GAMMA = bilinear.ETA, bilinear.GAMMA
# The largest eigenvalue's modulus, worked out by hand for f(x, y) = x y.
RATES = {
    "simultaneous": np.sqrt(1 + ETA**2),
    "alternating": 1.0,
    "extragradient": np.sqrt(1 - ETA**2 + ETA**4),
    "optimistic": np.sqrt((1 + np.sqrt(1 - 4 * ETA**2)) / 2),
    "consensus": np.sqrt((1 - ETA * GAMMA) ** 2 + ETA**2),
}


@pytest.fixture(scope="module")
def numbers():
    return found_by(bilinear).numbers


@pytest.mark.parametrize("rule", RATES)
def test_rates(numbers, rule):
    assert numbers[f"{rule}_rate_theory"] == pytest.approx(RATES[rule], rel=1e-9)
    # The ellipse's radius goes up and down; the others are exact geometric series.
    assert numbers[f"{rule}_rate"] == pytest.approx(RATES[rule], rel=1e-4 if rule == "alternating" else 1e-9)


def test_simultaneous_steps_leave_by_the_same_factor_each_time(numbers):
    wanted = np.sqrt(1 + ETA**2)
    assert numbers["simultaneous_factor_smallest"] == pytest.approx(wanted, rel=1e-12)
    assert numbers["simultaneous_factor_largest"] == pytest.approx(wanted, rel=1e-12)
    assert numbers["simultaneous_radius_end"] == pytest.approx(wanted**bilinear.STEPS, rel=1e-9)


def test_alternating_steps_stay_on_an_ellipse(numbers):
    path = bilinear.play(bilinear.alternating)
    x, y = path.T
    np.testing.assert_allclose(x**2 + y**2 - ETA * x * y, 1.0, rtol=1e-12)
    # Its extremes are met only nearly, by 200 points that go round many times.
    assert numbers["alternating_radius_smallest"] == pytest.approx(1 / np.sqrt(1 + ETA / 2), rel=1e-3)
    assert numbers["alternating_radius_largest"] == pytest.approx(1 / np.sqrt(1 - ETA / 2), rel=1e-3)
    # It does go round: through every quarter of the plane.
    assert {(a > 0, b > 0) for a, b in path} == {(True, True), (True, False), (False, True), (False, False)}


def test_continuous_time_keeps_its_radius(numbers):
    assert numbers["continuous_radius_smallest"] == pytest.approx(1.0, abs=1e-7)
    assert numbers["continuous_radius_largest"] == pytest.approx(1.0, abs=1e-7)
    # After the time t the field has turned the start by t.
    time = bilinear.STEPS * ETA
    np.testing.assert_allclose(bilinear.orbit()[-1], [np.cos(time), np.sin(time)], atol=1e-7)


@pytest.mark.parametrize("rule", ["extragradient", "optimistic", "consensus"])
def test_the_remedies_come_in(numbers, rule):
    assert numbers[f"{rule}_radius_end"] < 0.03


def test_the_matrices_are_those_of_the_rules():
    rng = np.random.default_rng(0)
    now, before = rng.normal(size=(2, 2))
    for name, matrix in bilinear.matrices().items():
        state = now if len(matrix) == 2 else np.concatenate([now, before])
        np.testing.assert_allclose((matrix @ state)[:2], bilinear.RULES[name](now, before), atol=1e-14)


def test_what_to_see_is_told_with_what_was_found():
    found = found_by(bilinear)
    assert f"{found.numbers['simultaneous_rate']:.5f}" in found.see[0]
    assert f"{found.numbers['alternating_radius_largest']:.3f}" in found.see[1]
    assert f"optimistic {found.numbers['optimistic_rate']:.4f}" in found.see[2]
