"""The critic's estimate compared with the quality of the samples over training: WGAN-GP's estimate says when to stop."""

from __future__ import annotations

import copy

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped,unused-ignore]
from torch import Tensor

from gpgan import objectives
from gpgan.data.plane import load_ring
from gpgan.labs.lab import Findings, Progress, span
from gpgan.labs.training import perceptron, train_critic, train_gan
from gpgan.metrics import wasserstein1
from gpgan.penalty import Penalty

Array = NDArray[np.float64]

TITLE = "Does the critic's estimate show how good the samples are?"
CAPTION = """\
Two training runs from the same initial weights on the ring of eight Gaussians: WGAN-GP, whose critic estimates the
Wasserstein-1 distance, and the non-saturating GAN, whose discriminator estimates the Jensen-Shannon divergence. At steps
spaced evenly on a logarithmic scale, each estimate is compared with the exact W1 between equally many generated and real
samples. Before each estimate a copy of the critic is trained further while the generator is fixed: the dual form is about
the best critic, and during training a critic lags behind its generator. The penalty of weight 1 is soft: where mass
moves by d along straight lines, slopes, and with them the estimate, are 1 + d / 2 times too large, so the first estimates
are 1.3 to 1.6 times W1. In theory the generator reduces the Wasserstein distance, so an estimate of it falls as the
samples improve. The Jensen-Shannon divergence has its maximum, log 2, whenever the supports are disjoint, at any
distance, and the longer the discriminator trains, the closer its estimate comes to log 2. After Arjovsky et al., arXiv
1701.07875, figures 3 and 4, and Gulrajani et al., arXiv 1704.00028, section 5."""

RUNS = {"wasserstein": Penalty(weight=1.0), "non-saturating": None}
SHORT = {"wasserstein": "wasserstein", "non-saturating": "js"}
SEEDS = (0, 1)
WIDTH, LATENT, STEPS, N_CRITIC, BATCH, LR, BETAS = 64, 2, 500, 3, 128, 1e-3, (0.0, 0.9)
# Further updates of the critic's copy before it gives its estimate.
CAUGHT_UP = 60
# Steps at which to measure, before duplicates among the first are removed, and samples of each kind at every one.
MOMENTS, SAMPLES = 29, 600
# Okabe and Ito's colours, distinguishable with any kind of colour blindness.
COLOURS = {"exact": "#000000", "wasserstein": "#0072B2", "non-saturating": "#D55E00"}
MARKERS = {"wasserstein": "o", "non-saturating": "^"}


def moments() -> list[int]:
    """The generator steps after which to measure, evenly spaced in their logarithm."""
    return sorted({round(step) for step in np.geomspace(1, STEPS, MOMENTS).tolist()})


def watch(objective: str, seed: int, points: Tensor, progress: Progress) -> Array:
    """Trains on points ``[N, 2]``; for each moment (exact W1, estimate, estimate without further training)."""
    rng = torch.Generator().manual_seed(seed)
    generator = perceptron([LATENT, WIDTH, WIDTH, WIDTH, 2], rng)
    critic = perceptron([2, WIDTH, WIDTH, WIDTH, 1], rng)
    rows: list[tuple[float, float, float]] = []
    looked = set(moments())

    def real(count: int, rng: torch.Generator) -> Tensor:
        return points[torch.randint(len(points), (count,), generator=rng)]

    @torch.no_grad()
    def fake(count: int, rng: torch.Generator) -> Tensor:
        made: Tensor = generator(torch.randn(count, LATENT, generator=rng))
        return made

    def look(step: int) -> None:
        if step not in looked:
            return
        own = torch.Generator().manual_seed(step)  # so that measuring does not change the training
        x, y = real(SAMPLES, own), fake(SAMPLES, own)
        further = copy.deepcopy(critic)
        train_critic(
            further,
            real,
            fake,
            steps=CAUGHT_UP,
            batch=BATCH,
            rng=own,
            objective=objective,
            penalty=RUNS[objective],
            lr=LR,
            betas=BETAS,
        )
        with torch.no_grad():
            estimates = [float(objectives.get(objective).estimate(f(x), f(y))) for f in (further, critic)]
        rows.append((wasserstein1(x, y), estimates[0], estimates[1]))
        progress(len(rows) / len(looked), f"training, {objective}")

    train_gan(
        generator,
        critic,
        real,
        steps=STEPS,
        batch=BATCH,
        latent=LATENT,
        rng=rng,
        objective=objective,
        penalty=RUNS[objective],
        n_critic=N_CRITIC,
        lr=LR,
        betas=BETAS,
        each=look,
    )
    return np.array(rows)


def run(progress: Progress) -> Findings:
    """Trains with each objective from each seed and compares the critics' estimates with the exact W1."""
    points = load_ring().samples()
    jobs = [(objective, seed) for objective in RUNS for seed in SEEDS]
    tracks: dict[tuple[str, int], Array] = {}
    numbers: dict[str, float] = {"seeds": len(SEEDS), "moments": len(moments()), "steps": STEPS}
    for index, job in enumerate(jobs):
        part = span(progress, index / len(jobs), (index + 1) / len(jobs))
        tracks[job] = watch(*job, points, part)
    for objective in RUNS:
        of = [tracks[objective, seed] for seed in SEEDS]
        for column, kind in ((1, ""), (2, "_without_catching_up")):
            ranks = [float(spearmanr(track[:, 0], track[:, column]).statistic) for track in of]
            for seed, rank in zip(SEEDS, ranks, strict=True):
                numbers[f"spearman_{SHORT[objective]}{kind}_seed_{seed}"] = rank
            numbers[f"spearman_{SHORT[objective]}{kind}_lowest"] = min(ranks)
            numbers[f"spearman_{SHORT[objective]}{kind}_highest"] = max(ranks)
        for column, kind in ((0, "w1"), (1, "estimate")):
            for row, when in ((0, "first"), (-1, "last")):
                numbers[f"{kind}_{when}_{SHORT[objective]}"] = float(np.mean([track[row, column] for track in of]))
    return Findings(numbers, _draw(tracks, numbers), _see(numbers))


def _see(n: dict[str, float]) -> tuple[str, str, str]:
    return (
        f"WGAN-GP: exact W1 falls from {n['w1_first_wasserstein']:.2f} to {n['w1_last_wasserstein']:.2f} and the critic's estimate "
        f"from {n['estimate_first_wasserstein']:.2f} to {n['estimate_last_wasserstein']:.2f}; rank correlation (Spearman) at least "
        f"{n['spearman_wasserstein_lowest']:.2f} over {n['seeds']:.0f} seeds.",
        f"Non-saturating GAN: exact W1 goes from {n['w1_first_js']:.2f} to {n['w1_last_js']:.2f}, yet the estimate of the "
        f"Jensen-Shannon divergence goes from {n['estimate_first_js']:.2f} to {n['estimate_last_js']:.2f} (log 2 = {np.log(2):.2f}); "
        f"rank correlation {n['spearman_js_lowest']:.2f} to {n['spearman_js_highest']:.2f}.",
        "The critic has to catch up first: without further training of its copy, WGAN-GP's rank correlation is only "
        f"{n['spearman_wasserstein_without_catching_up_lowest']:.2f} to {n['spearman_wasserstein_without_catching_up_highest']:.2f}.",
    )


def _draw(tracks: dict[tuple[str, int], Array], numbers: dict[str, float]) -> Figure:
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _over_steps(left, tracks, "wasserstein", "critic's estimate of W1")
    left.set(title="WGAN-GP: the estimate falls with W1", ylabel="distance")
    _over_steps(middle, tracks, "non-saturating", "discriminator's estimate of JS")
    middle.axhline(np.log(2), color="#666666", ls=":", label="log 2, the maximum of JS")
    middle.set(title="Non-saturating GAN: it does not", ylabel="distance (W1), nats (JS)")
    for axes in (left, middle):
        axes.set(xlabel="generator step (dashed: another seed)", ylim=(0, None))
        axes.legend(fontsize=9)
    for objective, name in (("wasserstein", "WGAN-GP"), ("non-saturating", "non-saturating")):
        both = np.concatenate([tracks[objective, seed] for seed in SEEDS])
        low, high = (numbers[f"spearman_{SHORT[objective]}_{end}"] for end in ("lowest", "highest"))
        label = f"{name}: Spearman {low:.2f} to {high:.2f}"
        style = {"color": COLOURS[objective], "marker": MARKERS[objective], "s": 22, "alpha": 0.8}
        right.scatter(both[:, 0], both[:, 1], label=label, **style)
    right.set(
        xlabel="exact W1 to the data", ylabel="estimate", title="Estimate against exact W1, all seeds", ylim=(0, None)
    )
    right.legend(fontsize=9)
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    return figure


def _over_steps(axes: Axes, tracks: dict[tuple[str, int], Array], objective: str, name: str) -> None:
    for seed in SEEDS:
        track, style = tracks[objective, seed], "-" if seed == SEEDS[0] else "--"
        label = seed == SEEDS[0]
        axes.plot(moments(), track[:, 0], style, color=COLOURS["exact"], lw=1.5, label="exact W1" if label else None)
        axes.plot(moments(), track[:, 1], style, color=COLOURS[objective], lw=1.5, label=name if label else None)
    axes.set_xscale("log")
