"""JS, W1 and critics for a generator that covers k of 8 modes, compared with their exact values."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import spearmanr
from whole_lab import found_by

from gpgan.labs import mode_collapse
from gpgan.labs.lab import Findings

KS = range(1, 9)
ORDERS = ("neighbours", "spread")


@pytest.fixture(scope="module")
def findings() -> Findings:
    return found_by(mode_collapse)


def chord(steps: int) -> float:
    """The distance between two modes on the circle, by the number of steps between them."""
    return 2 * math.sin(math.pi * steps / 8)


# W1 between shares of the modes is a linear program in the flows between modes.
COST = np.array([[abs(chord(to - start)) for to in range(8)] for start in range(8)])
BALANCE = np.vstack([np.kron(np.eye(8), np.ones(8)), np.kron(np.ones(8), np.eye(8))])


def transport(p: np.ndarray, q: np.ndarray) -> float:
    return float(linprog(COST.ravel(), A_eq=BALANCE, b_eq=np.concatenate([p, q])).fun)


def shares(k: int, order: str) -> np.ndarray:
    """The shares ``[8]`` of the modes in a generator that covers the first k of them evenly."""
    return np.where(np.isin(np.arange(8), mode_collapse.ORDERS[order][:k]), 1 / k, 0.0)


@pytest.mark.parametrize("k", KS)
def test_the_formula_is_the_divergence_of_the_modes_shares(k: int) -> None:
    p, q = shares(8, "neighbours"), shares(k, "neighbours")
    entropy = [float(-np.sum(x[x > 0] * np.log(x[x > 0]))) for x in ((p + q) / 2, p, q)]
    assert mode_collapse.js_of_separate_modes(k) == pytest.approx(entropy[0] - (entropy[1] + entropy[2]) / 2, abs=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k", KS)
def test_the_true_densities_have_that_divergence_wherever_the_modes_are(findings: Findings, k: int, order: str) -> None:
    sampled = findings.numbers[f"js_sampled_{k}_modes_{order}"]
    assert sampled == pytest.approx(findings.numbers[f"js_formula_{k}_modes"], abs=0.004)


def test_w1_of_points_is_what_it_is_by_hand(findings: Findings) -> None:
    numbers = findings.numbers
    for order in ORDERS:
        assert numbers[f"w1_points_1_modes_{order}"] == pytest.approx(sum(map(chord, range(8))) / 8)
        # The missing mode's eighth comes from seven modes, a 56th from each.
        assert numbers[f"w1_points_7_modes_{order}"] == pytest.approx(sum(map(chord, range(8))) / 56)
        assert numbers[f"w1_points_8_modes_{order}"] == pytest.approx(0, abs=1e-9)
    # Two opposite modes: each keeps an eighth, gives an eighth to either neighbour, and half of one to either second neighbour.
    assert numbers["w1_points_2_modes_spread"] == pytest.approx((4 * chord(1) + 2 * chord(2)) / 8)
    # Every other mode: each keeps half of its mass and gives the other half to its neighbours.
    assert numbers["w1_points_4_modes_spread"] == pytest.approx(chord(1) / 2)
    for k in range(2, 7):
        assert numbers[f"w1_points_{k}_modes_neighbours"] > 1.2 * numbers[f"w1_points_{k}_modes_spread"]


@pytest.mark.parametrize("order", ORDERS)
def test_w1_falls_with_every_mode(findings: Findings, order: str) -> None:
    points = [findings.numbers[f"w1_points_{k}_modes_{order}"] for k in KS]
    assert points == pytest.approx([transport(shares(8, order), shares(k, order)) for k in KS], abs=1e-6)
    assert all(more < fewer for fewer, more in pairwise(points))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k", KS)
def test_the_samples_w1_is_that_of_shares_with_their_noise(findings: Findings, k: int, order: str) -> None:
    # The modes are far narrower than the distance between them: W1 of 1000 samples is that of their modes' shares.
    rng, count = np.random.default_rng(k), mode_collapse.W1_SAMPLES
    drawn = [[rng.multinomial(count, shares(of, order)) / count for of in (8, k)] for _ in range(60)]
    likely = [transport(*pair) for pair in drawn]
    # Normal except for a tail to the right: at most 4 standard deviations off.
    wanted, room = np.mean(likely), 5 * np.std(likely)
    assert findings.numbers[f"w1_samples_{k}_modes_{order}"] == pytest.approx(wanted, abs=room)
    if k == 8:
        assert 0 < findings.numbers["w1_floor"] == pytest.approx(wanted, abs=room)
        # Small enough to distinguish them from samples of a generator that misses a mode.
        assert findings.numbers[f"w1_samples_8_modes_{order}"] < findings.numbers[f"w1_samples_7_modes_{order}"]


@pytest.mark.parametrize("order", ORDERS)
def test_the_critics_estimate_follows_w1(findings: Findings, order: str) -> None:
    points = [findings.numbers[f"w1_points_{k}_modes_{order}"] for k in KS]
    estimates = [findings.numbers[f"critic_estimate_{k}_modes_{order}"] for k in KS]
    assert spearmanr(points, estimates).statistic >= 0.95
    # A weight of 10 leaves slopes above 1: too large by about a twentieth of W1 if W1 is 1.
    assert estimates == pytest.approx(points, rel=0.1, abs=0.04)


def test_the_penalised_generator_covers_the_ring_most_evenly(findings: Findings) -> None:
    captured, quality, kl, w1 = (
        {game: findings.numbers[f"{key}_{game}"] for game in mode_collapse.GAMES}
        for key in ("modes_captured", "high_quality", "reverse_kl", "w1")
    )
    floor, one_mode = (findings.numbers[key] for key in ("w1_floor", "w1_points_1_modes_neighbours"))
    # In nine trials with initial weights changed in the seventh digit, as by another machine's rounding, the GAN covered
    # 2 to 4 modes (6 in this run) and the WGAN 6 to 8. The limits include these, and the order is checked.
    assert 2 <= captured["gan"] < captured["wgan_gp"] == 8
    assert 5 <= captured["wgan"] <= 8
    assert 0.1 < quality["wgan"] < 0.85 < quality["wgan_gp"] <= 1
    assert 0.6 < quality["gan"] <= 1
    assert 0 <= kl["wgan_gp"] < 0.05 < min(kl["gan"], kl["wgan"])
    assert floor / 2 < w1["wgan_gp"] < 0.1 < w1["wgan"] < 0.2
    for game, modes in captured.items():
        # The smallest divergence from 8 equal shares that m modes can have, and that of a single mode.
        assert modes in KS
        assert math.log(8 / modes) - 1e-9 <= kl[game] <= math.log(8)
        # Missing modes are a chord away, except for samples between modes; the worst case is a single mode.
        missing = (8 - modes) / 8 - (1 - quality[game])
        assert missing * chord(1) - 0.05 < w1[game] < one_mode


def test_the_slider_shows_the_numbers_and_the_modes(findings: Findings) -> None:
    slider = findings.slider
    assert slider is not None
    assert slider.positions == tuple(map(float, KS))
    for name, key in (
        ("Jensen-Shannon divergence", "js_formula_{}_modes"),
        ("W1", "w1_points_{}_modes_neighbours"),
        ("critic's estimate", "critic_estimate_{}_modes_neighbours"),
    ):
        assert slider.readings[name] == tuple(findings.numbers[key.format(k)] for k in KS)
    for k, covered, real in zip(KS, slider.clouds["covered"], slider.clouds["real"], strict=True):
        modes = {round(math.atan2(y, x) / (math.pi / 4)) % 8 for x, y in covered}
        assert modes == set(range(k))
        assert {round(math.atan2(y, x) / (math.pi / 4)) % 8 for x, y in real} == set(range(8))
        assert all(abs(math.hypot(x, y) - 1) < 0.06 for x, y in (*covered, *real))


def test_the_sentences_hold_the_numbers(findings: Findings) -> None:
    numbers = findings.numbers
    assert f"{numbers['js_formula_4_modes']:.3f}" in findings.see[0]
    assert f"{numbers['w1_points_4_modes_neighbours']:.3f}" in findings.see[0]
    assert all(f"W1 {numbers[f'w1_{name}']:.2f}" in findings.see[2] for name in ("gan", "wgan", "wgan_gp"))
    assert all(math.isfinite(number) for number in numbers.values())
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in findings.figure.axes)
