"""How much gradient a confident discriminator leaves the generator."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from gpgan import objectives
from gpgan.labs.lab import Findings, Progress
from gpgan.labs.training import Draw, perceptron, train_critic
from gpgan.penalty import Penalty

TITLE = "A confident discriminator: what remains of the generator's gradient"
CAPTION = """\
Real points fill a disc, generated points a disc beside it, and the generator can only move its disc. The discs do not
overlap, so the best discriminator is certain. The longer it trains and the farther apart the discs are, the smaller the
generator's gradient from the minimax loss log(1 - D), until nothing is left. The non-saturating loss -log D keeps a
gradient, which grows with the discriminator's steepness instead (Goodfellow et al., arXiv 1406.2661, section 3; Arjovsky
and Bottou, arXiv 1701.04862, theorems 2.4 and 2.6). Steepness is not the only cause: a discriminator whose slope a penalty
holds at 1 scores the generated disc -d / 2, and the minimax gradient falls as exp(-d / 2). The Wasserstein loss is the
score itself, so its gradient is the critic's slope, near and far: 1 + d / (2 lambda) under a penalty of weight lambda,
which is the optimum of the penalised dual on a line (Gulrajani et al., arXiv 1704.00028)."""

RADIUS = 0.5
DISTANCES = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
# The distance at which training is followed, and the steps after which the gradient is measured.
FOLLOWED = 2.0
LOOKS = (1, 2, 5, 10, 20, 50, 100, 200, 400)
STEPS, SETTLING = 400, 200
WEIGHT = 100.0
FAKES = 1000
# From this distance on, exp(-d / 2) and the logistic function of -d / 2 are nearly the same.
FAR = 4.0

# What is trained: name to (critic's objective, penalty, objectives of the generator).
CRITICS = {
    "free": ("minimax", None, ("minimax", "non-saturating")),
    "lipschitz": ("minimax", Penalty(weight=WEIGHT), ("minimax", "non-saturating")),
    "penalised": ("wasserstein", Penalty(weight=WEIGHT), ("wasserstein",)),
}
Pulls = dict[str, float]
"""The norm of the generator's gradient, by the generator's objective."""


def disc(centre: float) -> Draw:
    """Draws points ``[batch, 2]`` uniformly from the disc around (centre, 0)."""

    def draw(batch: int, rng: torch.Generator) -> Tensor:
        radius, angle = torch.rand(2, batch, generator=rng)
        radius, angle = RADIUS * radius.sqrt(), 2 * math.pi * angle
        return torch.stack([centre + radius * angle.cos(), radius * angle.sin()], 1)

    return draw


def pulls(critic: nn.Module, distance: float, names: tuple[str, ...]) -> Pulls:
    """The norm of the gradient of each named generator objective with respect to the position of its disc.

    In float64: in float32, the type in which a GAN trains, anything below 1e-45 is 0.
    """
    critic = copy.deepcopy(critic).double()
    fake = disc(distance)(FAKES, torch.Generator().manual_seed(1)).double()
    shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    found = {}
    for name in names:
        loss = objectives.get(name).generator_loss(None, critic(fake + shift))
        found[name] = float(torch.autograd.grad(loss, shift)[0].norm())
    return found


def train(kind: str, distance: float) -> list[Pulls]:
    """Trains one of CRITICS; its pulls after each of LOOKS, then those at the end."""
    objective, penalty, names = CRITICS[kind]
    rng = torch.Generator().manual_seed(0)
    critic = perceptron((2, 64, 64, 1), rng)
    seen = []

    def each(step: int) -> None:
        if step in LOOKS:
            seen.append(pulls(critic, distance, names))

    for steps, lr in ((STEPS, 1e-3),) if penalty is None else ((STEPS, 2e-3), (SETTLING, 2e-4)):
        train_critic(
            critic,
            disc(0.0),
            disc(distance),
            steps=steps,
            batch=128,
            rng=rng,
            objective=objective,
            penalty=penalty,
            lr=lr,
            betas=(0.5, 0.9),
            each=each if distance == FOLLOWED and len(seen) < len(LOOKS) else None,
        )
    return [*seen, pulls(critic, distance, names)]


def expected(distance: float) -> float:
    """The minimax gradient under a discriminator with a slope of exactly 1 and score 0 halfway between the discs."""
    fake = disc(distance)(FAKES, torch.Generator().manual_seed(1)).double()
    return float(torch.sigmoid(distance / 2 - fake[:, 0]).mean())


def run(progress: Progress) -> Findings:
    """Trains a free, a Lipschitz and a Wasserstein critic at every distance."""
    far: dict[str, list[float]] = {}
    long: dict[str, list[float]] = {}
    for number, distance in enumerate(DISTANCES):
        for turn, kind in enumerate(CRITICS):
            progress((number + turn / len(CRITICS)) / len(DISTANCES), f"discs {distance:g} apart")
            *seen, last = train(kind, distance)
            for name, pull in last.items():
                far.setdefault(f"{kind}_{name}", []).append(pull)
                long.setdefault(f"{kind}_{name}", []).extend(each[name] for each in seen)
    progress(0.98, "drawing")
    numbers = _numbers(far, long)
    return Findings(numbers, _draw(far, long), _see(numbers))


def _numbers(far: dict[str, list[float]], long: dict[str, list[float]]) -> dict[str, float]:
    distances = np.array(DISTANCES)
    tail = distances >= FAR
    theory = np.array([expected(d) for d in DISTANCES])
    held = np.array(far["lipschitz_minimax"])
    wasserstein, slope = np.array(far["penalised_wasserstein"]), 1 + distances / (2 * WEIGHT)
    return {
        "discriminator_steps": STEPS,
        "free_minimax_nearest": far["free_minimax"][0],
        "free_minimax_farthest": far["free_minimax"][-1],
        "free_minimax_largest": max(far["free_minimax"]),
        "free_minimax_first_step": long["free_minimax"][0],
        "free_minimax_last_step": long["free_minimax"][-1],
        "free_non_saturating_smallest": min(far["free_non-saturating"]),
        "free_non_saturating_largest": max(far["free_non-saturating"]),
        "lipschitz_minimax_nearest": far["lipschitz_minimax"][0],
        "lipschitz_minimax_farthest": far["lipschitz_minimax"][-1],
        "lipschitz_minimax_rate": float(np.polyfit(distances[tail], np.log(held[tail]), 1)[0]),
        "lipschitz_minimax_rate_theory": float(np.polyfit(distances[tail], np.log(theory[tail]), 1)[0]),
        "lipschitz_minimax_error": float(np.abs(held / theory - 1).max()),
        "lipschitz_non_saturating_farthest": far["lipschitz_non-saturating"][-1],
        "wasserstein_smallest": float(wasserstein.min()),
        "wasserstein_largest": float(wasserstein.max()),
        "wasserstein_error": float(np.abs(wasserstein / slope - 1).max()),
    }


def _see(n: dict[str, float]) -> tuple[str, str, str]:
    return (
        f"Minimax: after {n['discriminator_steps']:.0f} discriminator steps its gradient is {n['free_minimax_nearest']:.1e} "
        f"for the nearest discs and {n['free_minimax_farthest']:.1e} for the farthest; the non-saturating gradient stays at "
        f"{n['free_non_saturating_smallest']:.1f} or more.",
        f"Even with a discriminator of slope 1 the minimax gradient falls as exp({n['lipschitz_minimax_rate']:.3f} d) (theory "
        f"{n['lipschitz_minimax_rate_theory']:.3f}): {n['lipschitz_minimax_farthest']:.4f} at d = {DISTANCES[-1]:g}, where "
        f"the non-saturating one is {n['lipschitz_non_saturating_farthest']:.3f}.",
        f"Wasserstein: the gradient is between {n['wasserstein_smallest']:.3f} and {n['wasserstein_largest']:.3f} at every distance, within "
        f"{100 * n['wasserstein_error']:.1f} % of 1 + d / (2 lambda).",
    )


# Label and style of each curve; Okabe and Ito's colours.
CURVES = {
    "free_minimax": ("minimax", {"color": "#D55E00", "marker": "s"}),
    "free_non-saturating": ("non-saturating", {"color": "#0072B2", "marker": "o"}),
    "lipschitz_minimax": (
        "minimax, discriminator of slope 1",
        {"color": "#D55E00", "marker": "s", "ls": "--", "mfc": "w"},
    ),
    "lipschitz_non-saturating": (
        "non-saturating, discriminator of slope 1",
        {"color": "#0072B2", "marker": "o", "ls": "--", "mfc": "w"},
    ),
    "penalised_wasserstein": ("Wasserstein, penalised critic", {"color": "#009E73", "marker": "D"}),
}


def _draw(far: dict[str, list[float]], long: dict[str, list[float]]) -> Figure:
    figure = Figure(figsize=(12, 6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, (label, style) in CURVES.items():
        left.semilogy(DISTANCES, far[name], label=label, **style)
        right.loglog(LOOKS, long[name], label=label, **style)
    distances = np.linspace(DISTANCES[0], DISTANCES[-1], 50)
    left.semilogy(distances, np.exp(-distances / 2), color="black", ls=":", label="exp(-d / 2)")
    left.set(
        xlabel="distance d of the discs' centres",
        title="After training: minimax has vanished, Wasserstein stays at 1\n"
        f"({STEPS} steps, penalised {STEPS + SETTLING})",
    )
    right.set(
        xlabel="discriminator steps",
        title=f"The better the discriminator, the smaller the minimax gradient\n(discs {FOLLOWED:g} apart)",
    )
    left.legend(fontsize=9, loc="center right", bbox_to_anchor=(1.0, 0.42))
    for axes in (left, right):
        axes.set_ylabel("norm of the generator's gradient")
        axes.tick_params(labelleft=True)
        axes.grid(alpha=0.3)
    return figure
