"""The bilinear game's five dynamics, against the closed forms of their eigenvalues."""

import numpy as np
import pytest
from whole_lab import found_by

from gpgan.labs import bilinear

ETA, GAMMA = bilinear.ETA, bilinear.GAMMA
# The largest modulus of an eigenvalue, computed by hand for f(x, y) = x y.
RATES = {
    "simultaneous": np.sqrt(1 + ETA**2),
    "alternating": 1.0,
    "extragradient": np.sqrt(1 - ETA**2 + ETA**4),
    "optimistic": np.sqrt((1 + np.sqrt(1 - 4 * ETA**2)) / 2),
    "consensus": np.sqrt((1 - ETA * GAMMA) ** 2 + ETA**2),
}
N = bilinear.STEPS
# Alternating steps rotate along the ellipse by this angle per step.
ANGLE = np.arccos(1 - ETA**2 / 2)
# With w = x + i y, optimism is w[n + 1] = (1 + 2i eta) w[n] - i eta w[n - 1]: two powers, equal before and at the start.
ROOTS = np.roots([1, -(1 + 2j * ETA), 1j * ETA])
SHARES = np.linalg.solve([[1, 1], 1 / ROOTS], [1, 1])
# The radius after N steps from (1, 0), by hand: the matrices of three rules rotate and scale, so the radius is a power.
RADII = {
    **{rule: RATES[rule] ** N for rule in ("simultaneous", "extragradient", "consensus")},
    "alternating": np.hypot(np.sin(N * ANGLE) - np.sin((N - 1) * ANGLE), ETA * np.sin(N * ANGLE)) / np.sin(ANGLE),
    "optimistic": abs(SHARES @ ROOTS**N),
}


@pytest.fixture(scope="module")
def findings():
    return found_by(bilinear)


@pytest.fixture(scope="module")
def numbers(findings):
    return findings.numbers


def test_the_game_is_the_one_of_the_closed_forms(numbers):
    assert (numbers["eta"], numbers["gamma"], numbers["steps"]) == (ETA, GAMMA, N) == (0.2, 0.5, 200)


@pytest.mark.parametrize("rule", RATES)
def test_rates(numbers, rule):
    assert numbers[f"{rule}_rate_theory"] == pytest.approx(RATES[rule], rel=1e-9)
    # The ellipse's radius oscillates; the others are exact geometric series.
    assert numbers[f"{rule}_rate"] == pytest.approx(RATES[rule], rel=1e-4 if rule == "alternating" else 1e-9)
    assert numbers[f"{rule}_radius_end"] == pytest.approx(RADII[rule], rel=1e-9)


def test_simultaneous_steps_leave_by_the_same_factor_each_time(numbers):
    wanted = np.sqrt(1 + ETA**2)
    assert numbers["simultaneous_factor_smallest"] == pytest.approx(wanted, rel=1e-12)
    assert numbers["simultaneous_factor_largest"] == pytest.approx(wanted, rel=1e-12)


def test_alternating_steps_stay_on_an_ellipse(numbers):
    path = bilinear.play(bilinear.alternating)
    x, y = path.T
    np.testing.assert_allclose(x**2 + y**2 - ETA * x * y, 1.0, rtol=1e-12)
    for extreme, wanted in (("smallest", 1 / np.sqrt(1 + ETA / 2)), ("largest", 1 / np.sqrt(1 - ETA / 2))):
        assert numbers[f"alternating_radius_{extreme}_theory"] == pytest.approx(wanted, rel=1e-12)
        # The 200 points go round many times and only come close to the extremes.
        assert numbers[f"alternating_radius_{extreme}"] == pytest.approx(wanted, rel=1e-3)
    # It does go round, through every quadrant.
    assert {(a > 0, b > 0) for a, b in path} == {(True, True), (True, False), (False, True), (False, False)}


def test_continuous_time_keeps_its_radius(numbers):
    assert numbers["continuous_radius_smallest"] == pytest.approx(1.0, abs=1e-7)
    assert numbers["continuous_radius_largest"] == pytest.approx(1.0, abs=1e-7)
    # After time t the field has rotated the start by t.
    time = N * ETA
    np.testing.assert_allclose(bilinear.orbit()[-1], [np.cos(time), np.sin(time)], atol=1e-7)


def test_the_matrices_are_those_of_the_rules():
    rng = np.random.default_rng(0)
    now, before = rng.normal(size=(2, 2))
    for name, matrix in bilinear.matrices().items():
        state = now if len(matrix) == 2 else np.concatenate([now, before])
        np.testing.assert_allclose((matrix @ state)[:2], bilinear.RULES[name](now, before), atol=1e-14)


def test_what_to_see_is_told_with_what_was_found(findings, numbers):
    assert f"{numbers['simultaneous_rate']:.5f}" in findings.see[0]
    assert f"{numbers['alternating_radius_largest']:.3f}" in findings.see[1]
    assert f"optimistic {numbers['optimistic_rate']:.4f}" in findings.see[2]
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in findings.figure.axes)
