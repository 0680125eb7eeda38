"""How the penalty's weight changes the critic's gradient norm and its estimate of W1, on cases with known answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from statistics import fmean

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from gpgan.labs.lab import Findings, Progress
from gpgan.labs.training import Draw, perceptron, train_critic
from gpgan.metrics import wasserstein1
from gpgan.penalty import Penalty, gradient_penalty

TITLE = "Penalty strength: how far off the critic's estimate is, and why"
CAPTION = (
    "A gradient penalty of weight lambda does not fix a critic's slope at 1 but pulls it towards 1. Suppose all mass "
    "moves a distance d along straight lines. A slope s on them gains s d and costs lambda (s - 1)^2; the best slope is "
    "s = 1 + d / (2 lambda), so the critic's estimate is d (1 + d / (2 lambda)) instead of W1 = d. This bias is known "
    "and can be removed in two ways: subtract twice the penalty from the estimate, or divide the estimate by the mean "
    "gradient norm at the interpolates. Both are compared with W1 = 1 on two pairs of distributions in the plane: a small "
    "cloud and its translation by 1, whose best critic is linear, and a circle of radius 1 around a point mass, whose best "
    "critic is a cone. The one-sided penalty, which only penalises slopes above 1, has the same optimum here, but the path "
    "to it differs. With a large lambda the two-sided penalty pushes every slope to norm 1 at once, before the estimate can "
    "decide its direction, and a slope in the wrong direction has to pass through 0, which is penalised, to turn "
    "around. Sources: Gulrajani et al., arXiv 1704.00028, equation 3; "
    "Petzka et al., arXiv 1709.08894, for the one-sided penalty and its weaker dependence on lambda; Milne and Nachman, "
    "arXiv 2109.00528, for what a penalised critic computes exactly."
)

WEIGHTS = (0.01, 0.1, 1.0, 10.0, 100.0)
SIDES = {"two_sided": False, "one_sided": True}
DISTANCE = 1.0
DEVIATION = 0.02  # of the translated cloud: small, because the formula is for a single line
WIDTH = 32
BATCH = 64
EARLY = 100
STAGES = ((EARLY, 2e-3), (300, 2e-3), (300, 2e-4))  # steps and learning rate
REPEATED = 3  # critics in the one case where they differ: on the circle, at the largest weight
EVALUATED = 8192
COLOURS = {"two_sided": "#D55E00", "one_sided": "#0072B2"}
MARKERS = {"translation": "s", "circle": "o"}


def best_slope(distance: float, weight: float) -> float:
    """The maximiser of s * distance - weight * (s - 1)^2."""
    return 1 + distance / (2 * weight)


def _translation(side: float) -> Draw:
    def draw(batch: int, rng: torch.Generator) -> Tensor:
        return torch.tensor([side * DISTANCE / 2, 0.0]) + DEVIATION * torch.randn(batch, 2, generator=rng)

    return draw


def _circle(batch: int, rng: torch.Generator) -> Tensor:
    angles = 2 * math.pi * torch.rand(batch, generator=rng)
    return DISTANCE * torch.stack([angles.cos(), angles.sin()], dim=1)


def _point(batch: int, rng: torch.Generator) -> Tensor:
    return torch.zeros(batch, 2)


PAIRS: dict[str, tuple[Draw, Draw]] = {
    "translation": (_translation(1.0), _translation(-1.0)),
    "circle": (_circle, _point),
}
CASES = list(product(PAIRS, SIDES, WEIGHTS))


@dataclass(frozen=True)
class Reading:
    """Measurements of one trained critic on fresh samples."""

    early: float
    """the estimate after ``EARLY`` steps"""
    estimate: float
    norm: float
    """mean gradient norm at the interpolates"""
    penalty: float

    @property
    def less_penalty(self) -> float:
        """estimate - 2 penalty. At the best slope the penalty is d^2 / (4 lambda), half of the estimate's excess."""
        return self.estimate - 2 * self.penalty

    @property
    def by_norm(self) -> float:
        return self.estimate / self.norm


def _read(pair: tuple[Draw, Draw], penalty: Penalty, seed: int) -> Reading:
    rng = torch.Generator().manual_seed(seed)
    critic = perceptron([2, WIDTH, WIDTH, 1], rng)
    fresh = torch.Generator().manual_seed(1000 + seed)
    real, fake = (draw(EVALUATED, fresh) for draw in pair)

    def estimate() -> float:
        with torch.no_grad():
            return float(critic(real).mean() - critic(fake).mean())

    early = math.nan
    for stage, (steps, lr) in enumerate(STAGES):
        train_critic(critic, *pair, steps=steps, batch=BATCH, rng=rng, penalty=penalty, lr=lr)
        early = estimate() if stage == 0 else early
    value, norms = gradient_penalty(
        critic,
        real,
        fake,
        weight=penalty.weight,
        one_sided=penalty.one_sided,
        generator=fresh,
        return_norms=True,
    )
    return Reading(early, estimate(), float(norms.mean()), float(value.detach()))


def run(progress: Progress) -> Findings:
    """Trains a critic for each pair, side and weight."""
    readings: dict[tuple[str, str, float], list[Reading]] = {}
    for done, (pair, side, weight) in enumerate(CASES):
        progress(done / len(CASES), f"{pair}, {side.replace('_', '-')}, lambda {weight:g}")
        penalty = Penalty(weight=weight, one_sided=SIDES[side])
        seeds = REPEATED if (pair, weight) == ("circle", WEIGHTS[-1]) else 1
        readings[pair, side, weight] = [_read(PAIRS[pair], penalty, seed) for seed in range(seeds)]
    progress(1.0, "drawing")
    numbers = _numbers(readings)
    return Findings(numbers, _draw(readings), _see(numbers))


def _numbers(readings: dict[tuple[str, str, float], list[Reading]]) -> dict[str, float]:
    """Means over the critics of a case, and the extremes for cases with several critics."""
    rng = torch.Generator().manual_seed(0)
    numbers = {
        f"true_w1_{name}": wasserstein1(real(1000, rng), fake(1000, rng)) for name, (real, fake) in PAIRS.items()
    }
    for weight in WEIGHTS:
        numbers[f"theory_norm_lambda_{weight:g}"] = best_slope(DISTANCE, weight)
        numbers[f"theory_estimate_lambda_{weight:g}"] = DISTANCE * best_slope(DISTANCE, weight)
    for (pair, side, weight), some in readings.items():
        case = f"{pair}_{side}_lambda_{weight:g}"
        numbers[f"norm_{case}"] = fmean(each.norm for each in some)
        numbers[f"estimate_{case}"] = fmean(each.estimate for each in some)
        numbers[f"penalty_{case}"] = fmean(each.penalty for each in some)
        numbers[f"w1_less_penalty_{case}"] = fmean(each.less_penalty for each in some)
        numbers[f"w1_by_norm_{case}"] = fmean(each.by_norm for each in some)
        numbers[f"estimate_after_{EARLY}_steps_{case}"] = fmean(each.early for each in some)
    for side in SIDES:
        strong = [each.estimate for each in readings["circle", side, WEIGHTS[-1]]]
        numbers[f"lowest_estimate_circle_{side}_lambda_{WEIGHTS[-1]:g}"] = min(strong)
        numbers[f"highest_estimate_circle_{side}_lambda_{WEIGHTS[-1]:g}"] = max(strong)
    return numbers


def _see(numbers: dict[str, float]) -> tuple[str, str, str]:
    low, high = WEIGHTS[0], WEIGHTS[-1]
    cases = [f"{pair}_{side}_lambda_{weight:g}" for pair, side, weight in CASES if weight < high]
    off = max(abs(numbers[f"norm_{case}"] / numbers[f"theory_norm_lambda_{case.split('_')[-1]}"] - 1) for case in cases)
    by_norm = [numbers[f"w1_by_norm_{case}"] for case in cases]
    early = numbers[f"estimate_after_{EARLY}_steps_circle_two_sided_lambda_{low:g}"]
    return (
        f"Up to lambda {WEIGHTS[-2]:g} the mean gradient norm at the interpolates is within {100 * off:.1f} % of "
        f"1 + d / (2 lambda): {numbers[f'norm_circle_two_sided_lambda_{low:g}']:.1f} at lambda {low:g}, where theory gives "
        f"{best_slope(DISTANCE, low):.1f}; after {EARLY} steps the estimate is {early:.1f}.",
        f"The estimate is too large by the same factor; divided by the mean norm it is between {min(by_norm):.3f} and "
        f"{max(by_norm):.3f} for a true W1 of {DISTANCE:g}, up to lambda {WEIGHTS[-2]:g}.",
        f"At lambda {high:g} the two-sided penalty freezes slopes of norm "
        f"{numbers[f'norm_circle_two_sided_lambda_{high:g}']:.2f} in the wrong direction: on the circle it estimates "
        f"{numbers[f'estimate_circle_two_sided_lambda_{high:g}']:.2f} (mean of {REPEATED} critics), the one-sided penalty "
        f"{numbers[f'estimate_circle_one_sided_lambda_{high:g}']:.2f}.",
    )


def _draw(readings: dict[tuple[str, str, float], list[Reading]]) -> Figure:
    figure = Figure(figsize=(12, 5.4), dpi=120, layout="constrained")
    norm, estimate, reading = figure.subplots(1, 3)
    theory = [best_slope(DISTANCE, weight) for weight in WEIGHTS]
    grid = [10 ** (-2 + 4 * i / 200) for i in range(201)]
    for axes, what in ((norm, "1 + d / (2λ)"), (estimate, "d (1 + d / (2λ))")):
        axes.plot(grid, [best_slope(DISTANCE, weight) for weight in grid], color="black", label=f"theory: {what}")
        axes.set_yscale("log")
        axes.set_yticks([1, 10, 50], ["1", "10", "50"])
    estimate.axhline(DISTANCE, color="grey", linestyle=":", label="true W1 = 1")
    reading.axhline(DISTANCE, color="grey", linestyle=":", label="true W1 = 1")
    for pair in PAIRS:
        for side in SIDES:
            label = f"{pair}, {side.replace('_', '-')}"
            _points(norm, readings, pair, side, "norm", label)
            _points(estimate, readings, pair, side, "estimate", label)
            _points(reading, readings, pair, side, "by_norm", label)
    for side in SIDES:
        early = [readings["circle", side, weight][0].early for weight in WEIGHTS]
        label = f"circle, {side.replace('_', '-')}, {EARLY} steps"
        estimate.plot(WEIGHTS, early, color=COLOURS[side], linestyle="--", linewidth=1, label=label)
    norm.set_title("Weak penalties leave steep slopes", fontsize=12)
    norm.set_ylabel("mean gradient norm at the interpolates")
    estimate.set_title("The estimate grows with the slope", fontsize=12)
    estimate.set_ylabel("mean f(real) - mean f(fake)")
    reading.set_title("Divided by the mean norm it is W1,\nuntil two-sided training gets stuck", fontsize=12)
    reading.set_ylabel("estimate / mean gradient norm")
    reading.set_ylim(0, 1.25 * max(DISTANCE, *theory[-1:]))
    for axes in (norm, estimate, reading):
        axes.set_xscale("log")
        axes.set_xlabel("penalty weight λ")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc="lower left" if axes is reading else "upper right")
    return figure


def _points(
    axes: Axes,
    readings: dict[tuple[str, str, float], list[Reading]],
    pair: str,
    side: str,
    what: str,
    label: str,
) -> None:
    """One marker per critic, each case in its own size because most markers coincide."""
    marks = [(weight, getattr(each, what)) for weight in WEIGHTS for each in readings[pair, side, weight]]
    axes.plot(
        *zip(*marks, strict=True),
        marker=MARKERS[pair],
        color=COLOURS[side],
        markerfacecolor="none",
        markersize={"translation": 11, "circle": 5}[pair] + (3 if side == "two_sided" else 0),
        linestyle="none",
        label=label,
    )
