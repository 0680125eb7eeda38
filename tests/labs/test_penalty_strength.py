"""Slopes and estimates of penalised critics, compared with the optimum in closed form."""

import math
from itertools import product

import pytest
from scipy.optimize import minimize_scalar
from whole_lab import found_by

from gpgan.labs import penalty_strength
from gpgan.labs.lab import Findings

PAIRS, SIDES = ("translation", "circle"), ("two_sided", "one_sided")
# At 100 the two-sided penalty keeps the circle's critics from the optimum, which has its own test.
STUCK = ("circle", "two_sided", 100.0)
CASES = list(product(PAIRS, SIDES, (0.01, 0.1, 1.0, 10.0, 100.0)))
LEARNED = [case for case in CASES if case != STUCK]


@pytest.fixture(scope="module")
def findings() -> Findings:
    return found_by(penalty_strength)


@pytest.mark.parametrize("weight", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_the_best_slope_is_the_maximiser(distance: float, weight: float) -> None:
    best = minimize_scalar(lambda s: weight * (s - 1) ** 2 - s * distance).x
    assert penalty_strength.best_slope(distance, weight) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(("pair", "side", "weight"), LEARNED)
def test_norm_and_estimate_are_those_of_theory(findings: Findings, pair: str, side: str, weight: float) -> None:
    case = f"{pair}_{side}_lambda_{weight:g}"
    wanted = 1 + 1 / (2 * weight)
    assert findings.numbers[f"theory_norm_lambda_{weight:g}"] == pytest.approx(wanted)
    assert findings.numbers[f"theory_estimate_lambda_{weight:g}"] == pytest.approx(wanted)
    assert findings.numbers[f"norm_{case}"] == pytest.approx(wanted, rel=0.03)
    assert findings.numbers[f"estimate_{case}"] == pytest.approx(wanted, rel=0.04)
    # weight * (slope - 1)^2, and the spread of the slopes, which a large weight multiplies.
    assert findings.numbers[f"penalty_{case}"] == pytest.approx(1 / (4 * weight), rel=0.02, abs=0.015)


@pytest.mark.parametrize(("pair", "side", "weight"), LEARNED)
def test_both_corrected_readings_are_w1(findings: Findings, pair: str, side: str, weight: float) -> None:
    numbers, case = findings.numbers, f"{pair}_{side}_lambda_{weight:g}"
    assert numbers[f"true_w1_{pair}"] == pytest.approx(1, abs=0.002)
    assert numbers[f"w1_by_norm_{case}"] == pytest.approx(1, abs=0.02)
    # The difference of two numbers, the larger of which is 50 times W1 at weight 0.01.
    assert numbers[f"w1_less_penalty_{case}"] == pytest.approx(1, abs=0.06 + 0.002 / weight)


@pytest.mark.parametrize(("pair", "side", "weight"), CASES)
def test_the_readings_are_made_of_estimate_norm_and_penalty(
    findings: Findings, pair: str, side: str, weight: float
) -> None:
    numbers, case = findings.numbers, f"{pair}_{side}_lambda_{weight:g}"
    less = numbers[f"estimate_{case}"] - 2 * numbers[f"penalty_{case}"]
    assert numbers[f"w1_less_penalty_{case}"] == pytest.approx(less, rel=1e-9)
    # In a mean over critics, their norms hardly differ.
    by_norm = numbers[f"estimate_{case}"] / numbers[f"norm_{case}"]
    assert numbers[f"w1_by_norm_{case}"] == pytest.approx(by_norm, rel=0.01)


def test_the_estimate_alone_is_not_w1(findings: Findings) -> None:
    assert findings.numbers["estimate_circle_two_sided_lambda_0.01"] > 40
    assert findings.numbers["estimate_circle_two_sided_lambda_1"] > 1.4


@pytest.mark.parametrize("weight", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("pair", PAIRS)
def test_scaling_the_critic_would_gain_nothing(findings: Findings, pair: str, weight: float) -> None:
    """d/dc of c * estimate - weight * E (c n - 1)^2 at c = 1 is 0: estimate - 2 penalty = 2 weight (E n - 1)."""
    numbers, case = findings.numbers, f"{pair}_two_sided_lambda_{weight:g}"
    by_norm = 2 * weight * (numbers[f"norm_{case}"] - 1)
    assert numbers[f"estimate_{case}"] - 2 * numbers[f"penalty_{case}"] == pytest.approx(
        by_norm, abs=0.25 * (weight <= 0.01) + 0.06
    )


def test_a_strong_two_sided_penalty_gets_stuck_and_a_one_sided_one_does_not(findings: Findings) -> None:
    numbers = findings.numbers
    assert numbers["norm_circle_two_sided_lambda_100"] == pytest.approx(1, abs=0.03)
    assert numbers["estimate_circle_two_sided_lambda_100"] < 0.9
    assert numbers["lowest_estimate_circle_one_sided_lambda_100"] > 0.95
    for side in SIDES:
        low, mean, high = (numbers[f"{what}estimate_circle_{side}_lambda_100"] for what in ("lowest_", "", "highest_"))
        # The optimum is 1.005; if all slopes had the wrong direction it would be the same number below 0.
        assert -1.03 < low < mean < high < 1.03
    assert (
        numbers["highest_estimate_circle_two_sided_lambda_100"] < numbers["lowest_estimate_circle_one_sided_lambda_100"]
    )


@pytest.mark.parametrize(("pair", "side", "weight"), CASES)
def test_steep_slopes_take_longest_to_learn(findings: Findings, pair: str, side: str, weight: float) -> None:
    early = findings.numbers[f"estimate_after_{penalty_strength.EARLY}_steps_{pair}_{side}_lambda_{weight:g}"]
    share = early / findings.numbers[f"theory_estimate_lambda_{weight:g}"]
    # Never above the optimum. At weight 0.01 the optimum is 50, of which the critics reached a share of 0.31; at the middle
    # weights at least 0.90; at 100 at least 0.78, or 0.32 if stuck.
    if weight == 0.01:
        assert 0.2 < share < 0.5
    elif (pair, side, weight) == STUCK:
        assert -1 < share < 0.6
    else:
        assert (0.6 if weight == 100 else 0.8) < share < 1.03


def test_the_sentences_hold_the_numbers(findings: Findings) -> None:
    numbers = findings.numbers
    assert f"{numbers['norm_circle_two_sided_lambda_0.01']:.1f} at lambda 0.01" in findings.see[0]
    assert f"{numbers['estimate_circle_two_sided_lambda_100']:.2f}" in findings.see[2]
    assert all(math.isfinite(number) for number in numbers.values())
    assert findings.slider is None
