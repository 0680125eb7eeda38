"""What a trained discriminator learns about two densities, and what remains of it once their supports are disjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.integrate import quad  # type: ignore[import-untyped,unused-ignore]
from torch import Tensor, nn

from gpgan import objectives
from gpgan.labs.drawing import finish
from gpgan.labs.lab import Findings, Progress, span
from gpgan.labs.training import Draw, perceptron, train_critic
from gpgan.metrics import wasserstein1
from gpgan.penalty import Penalty, gradient_penalty

TITLE = "The discriminator as a density ratio, and where the ratio does not exist"
CAPTION = (
    "The discriminator that minimises the minimax objective is D*(x) = p(x) / (p(x) + q(x)). Its score, the logit of D, "
    "is log p(x)/q(x), and its final loss gives the Jensen-Shannon divergence, JS = log 2 - loss / 2. For two "
    "Gaussians of the same width the log ratio is a straight line, for different widths a parabola; a small network "
    "trained on samples approximates both without seeing a density. Then two uniform distributions of width 1 are "
    "moved apart. While they overlap by 1 - distance, D* has three steps and JS = distance * log 2. From distance 1 on, "
    "no point has mass from both: D* is a single step, JS stays at log 2, and the ratio is undefined, so that the score "
    "grows as long as training continues. W1 measures instead how far the mass has to move: it equals the distance "
    "throughout. A critic with a gradient penalty measures it from samples, as its estimate minus twice its "
    "penalty, which on the line is exactly W1 (the lab penalty-strength explains why). Sources: Goodfellow et al., arXiv "
    "1406.2661, proposition 1 and theorem 1; Arjovsky et al., arXiv 1701.07875, example 1; Gulrajani et al., arXiv 1704.00028."
)

MINIMAX = objectives.get("minimax")
WIDTH = 64
BATCH = 256
ADAM = (0.9, 0.999)
EVALUATED = 100_000
MASS = 0.99  # errors of D are measured over the interval that holds this share of (p + q) / 2
DISTANCES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
APART = 2.0
CHECKS = (200, 400, 800)  # steps at which the learned log ratio is measured
# One-sided: on the line a two-sided penalty of this weight often settles on slope -1 where +1 is right.
PENALTY = Penalty(weight=10.0, one_sided=True)
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


@dataclass(frozen=True)
class Gaussian:
    mean: float
    deviation: float

    def log_density(self, x: np.ndarray) -> np.ndarray:
        return -(((x - self.mean) / self.deviation) ** 2) / 2 - math.log(self.deviation * math.sqrt(2 * math.pi))

    def draw(self, batch: int, rng: torch.Generator) -> Tensor:
        return self.mean + self.deviation * torch.randn(batch, 1, generator=rng)


PAIRS = {
    "same_width": (Gaussian(-0.75, 1.0), Gaussian(0.75, 1.0)),
    "other_width": (Gaussian(0.0, 1.0), Gaussian(0.5, 2.0)),
}


def _uniform(start: float) -> Draw:
    return lambda batch, rng: start + torch.rand(batch, 1, generator=rng)


def jensen_shannon(p: Gaussian, q: Gaussian) -> float:
    """By quadrature, in nats."""

    def part(x: float, own: Gaussian, other: Gaussian) -> float:
        log_own, log_other = float(own.log_density(np.array(x))), float(other.log_density(np.array(x)))
        return math.exp(log_own) * (math.log(2) - float(np.logaddexp(0.0, log_other - log_own)))

    ends = [each.mean + side * 12 * each.deviation for each in (p, q) for side in (-1, 1)]
    halves = [quad(part, min(ends), max(ends), args=pair, limit=500)[0] / 2 for pair in ((p, q), (q, p))]
    return float(sum(halves))


@dataclass(frozen=True)
class Learned:
    """A trained discriminator."""

    scores: nn.Sequential
    js: float
    """estimated from its loss on fresh samples"""
    gaps: tuple[float, ...]
    """score at the left distribution's centre minus that at the right one's, after CHECKS steps"""


def _discriminator(draw_p: Draw, draw_q: Draw, centres: tuple[float, float], seed: int) -> Learned:
    rng = torch.Generator().manual_seed(seed)
    network = perceptron([1, WIDTH, WIDTH, 1], rng)
    gaps, done = [], 0
    for until, lr in (*((check, 5e-3) for check in CHECKS), (CHECKS[-1] + 400, 5e-4)):
        train_critic(
            network,
            draw_p,
            draw_q,
            steps=until - done,
            batch=BATCH,
            rng=rng,
            objective=MINIMAX.name,
            penalty=None,
            lr=lr,
            betas=ADAM,
        )
        done = until
        left, right = _scores(network, centres)
        gaps.append(float(left - right))
    with torch.no_grad():
        js = MINIMAX.estimate(network(draw_p(EVALUATED, rng)), network(draw_q(EVALUATED, rng)))
    return Learned(network, float(js), tuple(gaps[: len(CHECKS)]))


def _scores(network: nn.Module, x: np.ndarray | Sequence[float]) -> np.ndarray:
    points = torch.as_tensor(np.asarray(x), dtype=torch.float32)[:, None]
    with torch.no_grad():
        return np.asarray(network(points).double())


def _wasserstein(distance: float, seed: int) -> tuple[float, float]:
    """W1 of the two uniform distributions: between fresh samples, and as a penalised critic estimates it."""
    rng = torch.Generator().manual_seed(seed)
    real, fake = _uniform(0.0), _uniform(distance)
    critic = perceptron([1, 32, 32, 1], rng)
    for steps, lr in ((400, 2e-3), (200, 2e-4)):
        train_critic(critic, real, fake, steps=steps, batch=128, rng=rng, penalty=PENALTY, lr=lr)
    x, y = real(EVALUATED, rng), fake(EVALUATED, rng)
    penalty = gradient_penalty(critic, x, y, weight=PENALTY.weight, one_sided=PENALTY.one_sided, generator=rng).detach()
    with torch.no_grad():
        estimate = critic(x).mean() - critic(y).mean()
    return wasserstein1(x, y), float(estimate - 2 * penalty)


def run(progress: Progress) -> Findings:
    """Trains a discriminator for each pair of Gaussians, and a discriminator and a critic for each distance."""
    numbers: dict[str, float] = {}
    grids, gaussians = {}, {}
    for index, (name, (p, q)) in enumerate(PAIRS.items()):
        progress(0.15 * index, "a discriminator between two Gaussians")
        grids[name] = _interval(p, q)
        gaussians[name] = _discriminator(p.draw, q.draw, (p.mean, q.mean), index)
        numbers |= _against_theory(name, grids[name], gaussians[name])
    parted = _part(span(progress, 0.3, 1.0), numbers)
    for name, learned in (("overlapping", gaussians["same_width"]), ("apart", parted[APART])):
        numbers |= {
            f"log_ratio_gap_{name}_after_{check}_steps": gap for check, gap in zip(CHECKS, learned.gaps, strict=True)
        }
    # log p/q = -(2 * 0.75) x for the Gaussians of the same width: between their centres, 1.5 apart, it differs by 1.5^2.
    p, q = PAIRS["same_width"]
    numbers["log_ratio_gap_overlapping_true"] = (p.mean - q.mean) ** 2 / p.deviation**2
    progress(1.0, "drawing")
    return Findings(numbers, _draw(numbers, grids, gaussians, parted), _see(numbers))


def _interval(p: Gaussian, q: Gaussian) -> np.ndarray:
    """A fine grid over the central interval that holds MASS of (p + q) / 2."""
    x = np.linspace(min(p.mean, q.mean) - 15, max(p.mean, q.mean) + 15, 30_001)
    mass = np.cumsum(np.exp(p.log_density(x)) + np.exp(q.log_density(x)))
    low, high = np.interp([(1 - MASS) / 2, (1 + MASS) / 2], mass / mass[-1], x)
    return np.linspace(low, high, 1001)


def _log_ratio(name: str, x: np.ndarray) -> np.ndarray:
    p, q = PAIRS[name]
    return np.asarray(p.log_density(x) - q.log_density(x))


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return np.asarray(torch.sigmoid(torch.from_numpy(scores)))


def _against_theory(name: str, grid: np.ndarray, learned: Learned) -> dict[str, float]:
    p, q = PAIRS[name]
    log_ratio, scores = _log_ratio(name, grid), _scores(learned.scores, grid)
    errors = np.abs(_sigmoid(scores) - _sigmoid(log_ratio))
    density = np.exp(p.log_density(grid)) + np.exp(q.log_density(grid))
    # The fit weights each point by its mass; polyfit squares its weights.
    degree = 1 if p.deviation == q.deviation else 2
    fitted = np.polyfit(grid, scores, degree, w=np.sqrt(density))
    exact = np.polyfit(grid, log_ratio, degree)
    return {
        f"discriminator_max_error_{name}": float(errors.max()),
        f"discriminator_mean_error_{name}": float(np.average(errors, weights=density)),
        f"log_ratio_leading_coefficient_{name}_learned": float(fitted[0]),
        f"log_ratio_leading_coefficient_{name}_true": float(exact[0]),
        f"js_{name}_learned": learned.js,
        f"js_{name}_integral": jensen_shannon(p, q),
    }


def _part(progress: Progress, numbers: dict[str, float]) -> dict[float, Learned]:
    """The discriminators, by distance; adds their measurements to ``numbers``."""
    parted = {}
    for index, distance in enumerate(DISTANCES):
        progress(index / len(DISTANCES), f"two uniform distributions at distance {distance:g}")
        centres = (0.5, distance + 0.5)
        learned = _discriminator(_uniform(0.0), _uniform(distance), centres, 10 + index)
        samples, critic = _wasserstein(distance, 20 + index)
        numbers |= {
            f"js_learned_distance_{distance:g}": learned.js,
            f"js_true_distance_{distance:g}": math.log(2) * min(distance, 1.0),
            f"w1_samples_distance_{distance:g}": samples,
            f"w1_critic_distance_{distance:g}": critic,
        }
        parted[distance] = learned
    return parted


def _see(numbers: dict[str, float]) -> tuple[str, str, str]:
    worst = max(numbers[f"discriminator_max_error_{name}"] for name in PAIRS)
    js = ", ".join(
        f"{numbers[f'js_{name}_learned']:.4f} (integral {numbers[f'js_{name}_integral']:.4f})" for name in PAIRS
    )
    slope, bend = (
        "{:.3f} (true {:.3f})".format(
            *(numbers[f"log_ratio_leading_coefficient_{name}_{of}"] for of in ("learned", "true"))
        )
        for name in PAIRS
    )
    far = DISTANCES[-1]
    first, last = (numbers[f"log_ratio_gap_apart_after_{check}_steps"] for check in (CHECKS[0], CHECKS[-1]))
    stays = numbers[f"log_ratio_gap_overlapping_after_{CHECKS[-1]}_steps"]
    return (
        f"D is within {worst:.3f} of p / (p + q) where {100 * MASS:.0f} % of the mass lies. Its score is close to a line of "
        f"slope {slope} for equal widths and to a parabola with a leading coefficient of {bend} for different ones. Its loss gives the "
        f"Jensen-Shannon divergence: {js}.",
        f"As they move apart, JS stops at log 2 = {math.log(2):.4f}: {numbers['js_learned_distance_1']:.4f} at distance 1, "
        f"{numbers[f'js_learned_distance_{far:g}']:.4f} at {far:g}, where the penalised critic estimates W1 as "
        f"{numbers[f'w1_critic_distance_{far:g}']:.2f} and exact transport of samples gives "
        f"{numbers[f'w1_samples_distance_{far:g}']:.2f}.",
        f"Without overlap there is no ratio to learn: between steps {CHECKS[0]} and {CHECKS[-1]} the log ratio between the "
        f"centres grows from {first:.0f} to {last:.0f}; with overlap it is {stays:.2f}, where the true value is "
        f"{numbers['log_ratio_gap_overlapping_true']:.2f}.",
    )


def _draw(
    numbers: dict[str, float],
    grids: dict[str, np.ndarray],
    gaussians: dict[str, Learned],
    parted: dict[float, Learned],
) -> Figure:
    figure = Figure(figsize=(13, 7.6), dpi=120, layout="constrained")
    (density, ratio, steps), (apart, js, w1) = figure.subplots(2, 3)
    labels = {"same_width": (BLUE, "same width"), "other_width": (ORANGE, "different widths")}
    for name, (colour, label) in labels.items():
        grid, scores = grids[name], _scores(gaussians[name].scores, grids[name])
        for axes, learned, exact in (
            (density, _sigmoid(scores), _sigmoid(_log_ratio(name, grid))),
            (ratio, scores, _log_ratio(name, grid)),
        ):
            axes.plot(grid, learned, color=colour, linewidth=4, alpha=0.5, label=f"learned, {label}")
            axes.plot(grid, exact, color="black", linestyle="--", linewidth=1, zorder=3)
    density.plot([], [], color="black", linestyle="--", linewidth=1, label="p / (p + q)")
    ratio.plot([], [], color="black", linestyle="--", linewidth=1, label="log p / q")
    finish(density, "Two Gaussians: D is p / (p + q)", "x", "discriminator D(x)")
    finish(ratio, "Its score is the log ratio, where both have samples", "x", "score = logit of D(x)")

    for case, colour, label in (("overlapping", BLUE, "Gaussians, same width"), ("apart", ORANGE, "uniform, 2 apart")):
        gaps = [numbers[f"log_ratio_gap_{case}_after_{check}_steps"] for check in CHECKS]
        steps.plot(CHECKS, gaps, color=colour, marker="o", label=label)
    steps.axhline(
        numbers["log_ratio_gap_overlapping_true"], color="black", linestyle="--", linewidth=1, label="true, Gaussians"
    )
    steps.set_ylim(0)
    finish(
        steps,
        "Without overlap the log ratio never settles",
        "training steps",
        "difference of scores between the centres",
    )

    for distance, colour in ((0.5, BLUE), (APART, ORANGE)):
        x = np.linspace(-0.25, distance + 1.25, 1001)
        apart.plot(
            x, _sigmoid(_scores(parted[distance].scores, x)), color=colour, label=f"learned, distance {distance:g}"
        )
        edges = [0.0, min(distance, 1.0), max(distance, 1.0), 1.0 + distance]
        middle = 0.5 if distance < 1 else math.nan
        apart.stairs([1.0, middle, 0.0], edges, baseline=None, color="black", linestyle="--", linewidth=1, zorder=3)
    apart.plot([], [], color="black", linestyle="--", linewidth=1, label="p / (p + q), where there is mass")
    apart.set_ylim(-0.05, 1.5)
    finish(apart, "Uniform distributions: D is a step function", "x", "discriminator D(x)")

    line = np.linspace(0, DISTANCES[-1], 301)
    for axes, exact, key, label in (
        (js, math.log(2) * np.minimum(line, 1), "js_learned", "discriminator's loss"),
        (w1, line, "w1_critic", "penalised critic"),
    ):
        axes.plot(line, exact, color="black", linestyle="--", linewidth=1, label="exact")
        values = [numbers[f"{key}_distance_{distance:g}"] for distance in DISTANCES]
        axes.plot(DISTANCES, values, "o", color=ORANGE if axes is js else BLUE, label=label)
    samples = [numbers[f"w1_samples_distance_{distance:g}"] for distance in DISTANCES]
    w1.plot(DISTANCES, samples, "x", color=GREY, markersize=9, label="samples, exact transport")
    js.set_ylim(0, 0.9)
    finish(js, "The Jensen-Shannon divergence stops at log 2", "distance", "JS / nats")
    finish(w1, "W1 is the distance", "distance", "W1")
    return figure
