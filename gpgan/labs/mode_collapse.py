"""A generator that covers k of 8 modes: how JS, W1 and a critic rate it, and what three trained generators cover."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from gpgan import data
from gpgan.data import Mixture
from gpgan.labs.drawing import finish
from gpgan.labs.lab import Findings, Progress, Slider, span
from gpgan.labs.training import perceptron, train_critic, train_gan
from gpgan.metrics import ModeCoverage, mode_coverage, w1_floor, wasserstein1
from gpgan.penalty import Penalty

TITLE = "Mode collapse: a generator that covers some of eight modes"
CAPTION = (
    "The real distribution has 8 narrow modes on a circle of radius 1; the generator covers k of them evenly. For modes "
    "that do not overlap, the Jensen-Shannon divergence depends on k alone, JS = 1/2 [k/8 log(2k / (k + 8)) + "
    "(1 - k/8) log 2 + log(16 / (k + 8))]: it counts the missing modes and cannot tell whether they are next to the "
    "covered ones or on the other side of the ring. W1 can, because mass has to be moved to them: covering 2 to 6 "
    "neighbouring modes costs more than covering as many spread over the ring, and both costs fall with every added mode. "
    "A critic trained on samples with a one-sided gradient penalty follows W1 without seeing it. Below, three generators "
    "with the same initial weights learn the ring with the same number of updates and the same optimizer: a "
    "non-saturating GAN, a WGAN with clipped weights and a WGAN-GP. A sample is of high quality if it is within three "
    "standard deviations of a mode; the reverse KL divergence of the modes' shares from equal shares measures how evenly "
    "they are covered. Sources: Srivastava et al., arXiv 1705.07761, for the ring and its measures; Goodfellow et al., arXiv 1406.2661, theorem 1; Arjovsky et al., arXiv "
    "1701.07875; Gulrajani et al., arXiv 1704.00028."
)

MODES = 8
ORDERS = {"neighbours": (0, 1, 2, 3, 4, 5, 6, 7), "spread": (0, 4, 2, 6, 1, 5, 3, 7)}  # the first k are covered
JS_SAMPLES = 100_000
W1_SAMPLES = 1000
CRITIC_SAMPLES = 20_000
CRITIC_SIZES, CRITIC_BATCH = (64, 64), 128
CRITIC_PENALTY = Penalty(weight=10.0, one_sided=True)
SHOWN = 20  # points of each mode on the slider
LATENT = 2
# A generator has to tear a plane into modes, for which depth helps more than width.
SIZES = (64,) * 5
BATCH = 256
N_CRITIC = 1
STAGES = ((1000, 4e-3), (600, 1.5e-3), (400, 4e-4))  # generator updates and learning rate, the same for all three GANs
BETAS = (0.0, 0.99)
COLOURS = {"neighbours": "#D55E00", "spread": "#0072B2"}


@dataclass(frozen=True)
class Game:
    label: str
    objective: str
    penalty: Penalty | None = None
    max_weight: float | None = None


# The weight of 0.1 is that of Gulrajani et al. for data in the plane. The clipping bound is ten times that of Arjovsky
# et al., because this critic has fewer and narrower layers.
GAMES = {
    "gan": Game("GAN (non-saturating)", "non-saturating"),
    "wgan": Game("WGAN (weights clipped at 0.1)", "wasserstein", max_weight=0.1),
    "wgan_gp": Game("WGAN-GP (λ = 0.1)", "wasserstein", penalty=Penalty(weight=0.1)),
}


def js_of_separate_modes(covered: int) -> float:
    """JS in nats between equal mixtures of all MODES modes and of ``covered`` of them, for modes that do not overlap.

    With p_i = 1/8 and q_i = 1/k on the covered ones: 1/2 sum p_i log(2 p_i / (p_i + q_i)) + 1/2 sum q_i log(2 q_i /
    (p_i + q_i)); a missing mode has p_i log 2 in the first sum and nothing in the second.
    """
    share = covered / MODES
    real = share * math.log(2 * covered / (covered + MODES)) + (1 - share) * math.log(2)
    return (real + math.log(2 * MODES / (covered + MODES))) / 2


def js_by_sampling(mixture: Mixture, covered: tuple[int, ...], rng: torch.Generator) -> float:
    """The same for the true densities, whose modes overlap slightly: a mean of log ratios over samples."""

    def log_density(x: Tensor, modes: tuple[int, ...]) -> Tensor:
        square = torch.cdist(x, mixture.centres[list(modes)].double(), compute_mode="donot_use_mm_for_euclid_dist") ** 2
        # Up to a factor that both densities share.
        return torch.logsumexp(-square / (2 * mixture.deviation**2), dim=1) - math.log(len(modes))

    everything = tuple(range(MODES))
    halves = []
    for own, other in ((everything, covered), (covered, everything)):
        x = _even(mixture, own, JS_SAMPLES, rng).double()
        ratio = log_density(x, other) - log_density(x, own)
        halves.append(math.log(2) - float(torch.logaddexp(torch.zeros_like(ratio), ratio).mean()))
    return sum(halves) / 2


def _even(mixture: Mixture, modes: tuple[int, ...], count: int, rng: torch.Generator) -> Tensor:
    """Samples ``[count, 2]`` of some of the modes, with equal probability."""
    chosen = torch.tensor(modes)[torch.randint(len(modes), (count,), generator=rng)]
    return mixture.centres[chosen] + mixture.deviation * torch.randn(count, 2, generator=rng)


def w1_of_points(mixture: Mixture, covered: tuple[int, ...]) -> float:
    """W1 with every mode reduced to a point: exact transport from 1/8 each to 1/k each."""
    return wasserstein1(mixture.centres.repeat(len(covered), 1), mixture.centres[list(covered)].repeat(MODES, 1))


def run(progress: Progress) -> Findings:
    """Measures k covered modes in both orders, then trains the three generators."""
    ring = data.load("ring")
    assert ring.modes is not None
    real, mixture = ring.samples(), ring.modes
    rng = torch.Generator().manual_seed(0)
    numbers = {"w1_floor": w1_floor(real, W1_SAMPLES, rng=rng)}
    for index, order in enumerate(ORDERS):
        _cover(mixture, real, order, numbers, span(progress, 0.2 * index, 0.2 * (index + 1)))
    made = {}
    for index, name in enumerate(GAMES):
        part = span(progress, 0.4 + 0.2 * index, 0.4 + 0.2 * (index + 1))
        made[name] = _train(GAMES[name], real, part)
        found = mode_coverage(made[name], mixture)
        numbers |= _coverage(name, found)
        numbers[f"w1_{name}"] = wasserstein1(made[name][:W1_SAMPLES], real[:W1_SAMPLES])
    progress(1.0, "drawing")
    return Findings(numbers, _draw(numbers, real, made), _see(numbers), _slider(mixture, numbers))


def _cover(mixture: Mixture, real: Tensor, order: str, numbers: dict[str, float], progress: Progress) -> None:
    """Adds what is measured for each k to ``numbers``; the critic for k continues from that for k - 1."""
    rng = torch.Generator().manual_seed(list(ORDERS).index(order) + 1)
    critic = perceptron([2, *CRITIC_SIZES, 1], rng)
    for k in range(1, MODES + 1):
        progress((k - 1) / MODES, f"{k} of {MODES} modes, {order}")
        covered = ORDERS[order][:k]

        def draw_real(batch: int, rng: torch.Generator) -> Tensor:
            return real[torch.randint(len(real), (batch,), generator=rng)]

        def draw_fake(batch: int, rng: torch.Generator, covered: tuple[int, ...] = covered) -> Tensor:
            return _even(mixture, covered, batch, rng)

        for steps, lr in ((400, 2e-3), (150, 2e-4)):
            train_critic(
                critic, draw_real, draw_fake, steps=steps, batch=CRITIC_BATCH, rng=rng, penalty=CRITIC_PENALTY, lr=lr
            )
        with torch.no_grad():
            estimate = critic(draw_real(CRITIC_SAMPLES, rng)).mean() - critic(draw_fake(CRITIC_SAMPLES, rng)).mean()
        numbers |= {
            f"js_formula_{k}_modes": js_of_separate_modes(k),
            f"js_sampled_{k}_modes_{order}": js_by_sampling(mixture, covered, rng),
            f"w1_points_{k}_modes_{order}": w1_of_points(mixture, covered),
            f"w1_samples_{k}_modes_{order}": wasserstein1(draw_real(W1_SAMPLES, rng), draw_fake(W1_SAMPLES, rng)),
            f"critic_estimate_{k}_modes_{order}": float(estimate),
        }


def _train(game: Game, real: Tensor, progress: Progress) -> Tensor:
    """Samples ``[2500, 2]`` of a trained generator, the number for which the ring's measures are defined.

    All games start from the same weights.
    """
    rng = torch.Generator().manual_seed(0)
    generator, critic = perceptron([LATENT, *SIZES, 2], rng), perceptron([2, *SIZES, 1], rng)
    total, before = sum(steps for steps, _ in STAGES), 0
    for steps, lr in STAGES:

        def each(step: int, before: int = before) -> None:
            if step % 50 == 0:
                progress((before + step) / total, f"training a {game.label}")

        train_gan(
            generator,
            critic,
            lambda batch, rng: real[torch.randint(len(real), (batch,), generator=rng)],
            steps=steps,
            batch=BATCH,
            latent=LATENT,
            rng=rng,
            objective=game.objective,
            penalty=game.penalty,
            n_critic=N_CRITIC,
            lr=lr,
            betas=BETAS,
            max_weight=game.max_weight,
            each=each,
        )
        before += steps
    with torch.no_grad():
        made: Tensor = generator(torch.randn(2500, LATENT, generator=rng))
    return made


def _coverage(name: str, found: ModeCoverage) -> dict[str, float]:
    return {
        f"modes_captured_{name}": float(found.captured),
        f"high_quality_{name}": found.high_quality,
        f"reverse_kl_{name}": found.reverse_kl,
    }


def _see(numbers: dict[str, float]) -> tuple[str, str, str]:
    half = MODES // 2
    pairs = [
        (numbers[f"critic_estimate_{k}_modes_{order}"], numbers[f"w1_points_{k}_modes_{order}"])
        for order in ORDERS
        for k in range(1, MODES + 1)
    ]
    off = max(abs(estimate - exact) for estimate, exact in pairs)
    games = "; ".join(
        f"{game.label} {numbers[f'modes_captured_{name}']:.0f} modes, {100 * numbers[f'high_quality_{name}']:.1f} % high "
        f"quality, reverse KL {numbers[f'reverse_kl_{name}']:.2f}, W1 {numbers[f'w1_{name}']:.2f}"
        for name, game in GAMES.items()
    )
    return (
        f"With {half} of {MODES} modes covered JS is {numbers[f'js_formula_{half}_modes']:.3f} wherever they are; W1 is "
        f"{numbers[f'w1_points_{half}_modes_neighbours']:.3f} for neighbours and "
        f"{numbers[f'w1_points_{half}_modes_spread']:.3f} for modes spread over the ring.",
        f"The penalised critic's estimate follows W1 from {pairs[0][1]:.2f} down to 0; its largest error is {off:.3f}.",
        f"Trained: {games} (real samples: {numbers['w1_floor']:.2f}).",
    )


def _slider(mixture: Mixture, numbers: dict[str, float]) -> Slider:
    """For neighbouring modes."""
    rng = torch.Generator().manual_seed(0)
    ks = range(1, MODES + 1)

    def points(modes: tuple[int, ...]) -> tuple[tuple[float, float], ...]:
        samples = mixture.centres[list(modes)].repeat(SHOWN, 1)
        samples = samples + mixture.deviation * torch.randn(len(samples), 2, generator=rng)
        return tuple((round(x, 3), round(y, 3)) for x, y in samples.tolist())

    real = points(ORDERS["neighbours"])
    return Slider(
        label="modes covered",
        positions=tuple(float(k) for k in ks),
        readings={
            "Jensen-Shannon divergence": tuple(numbers[f"js_formula_{k}_modes"] for k in ks),
            "W1": tuple(numbers[f"w1_points_{k}_modes_neighbours"] for k in ks),
            "critic's estimate": tuple(numbers[f"critic_estimate_{k}_modes_neighbours"] for k in ks),
        },
        clouds={
            "real": (real,) * MODES,
            "covered": tuple(points(ORDERS["neighbours"][:k]) for k in ks),
        },
    )


def _draw(numbers: dict[str, float], real: Tensor, made: dict[str, Tensor]) -> Figure:
    figure = Figure(figsize=(13, 8.4), dpi=120, layout="constrained")
    (js, w1, critic), pictures = figure.subplots(2, 3)
    ks = list(range(1, MODES + 1))
    js.plot(ks, [numbers[f"js_formula_{k}_modes"] for k in ks], color="black", label="formula, modes apart")
    js.axhline(math.log(2), color="grey", linestyle=":", label="log 2: no overlap")
    for order, marker in (("neighbours", "o"), ("spread", "x")):
        colour = COLOURS[order]

        def values(what: str, order: str = order) -> list[float]:
            return [numbers[f"{what}_{k}_modes_{order}"] for k in ks]

        style = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 8}
        js.plot(ks, values("js_sampled"), label=f"sampled, {order}", **style)
        w1.plot(ks, values("w1_points"), color=colour, label=f"{order}, modes as points")
        w1.plot(ks, values("w1_samples"), label=f"{order}, {W1_SAMPLES} samples", **style)
        critic.plot(values("w1_points"), values("critic_estimate"), label=order, **style)
    w1.axhline(numbers["w1_floor"], color="grey", linestyle=":", label="real against real samples")
    critic.plot([0, 1.35], [0, 1.35], color="black", linestyle="--", linewidth=1, label="estimate = W1")
    finish(js, "JS counts missing modes, wherever they are", f"modes covered, of {MODES}", "JS / nats")
    finish(w1, "W1 shows how far away the missing ones are", f"modes covered, of {MODES}", "W1")
    finish(critic, "A penalised critic follows W1", "W1", "critic's estimate")
    for axes, (name, samples) in zip(pictures, made.items(), strict=True):
        axes.scatter(*real[:1000].T.numpy(), s=14, color="#D55E00", label="real")
        axes.scatter(*samples[:1000].T.numpy(), s=5, color="#0072B2", alpha=0.5, linewidths=0, label="generated")
        axes.set_aspect("equal")
        axes.set_xlim(-1.6, 1.6)
        axes.set_ylim(-1.6, 1.6)
        modes, kl, w1_to_data = (numbers[f"{key}_{name}"] for key in ("modes_captured", "reverse_kl", "w1"))
        title = f"{GAMES[name].label}\n{modes:.0f} modes, reverse KL {kl:.2f}, W1 {w1_to_data:.2f}"
        finish(axes, title, "x", "y")
    return figure
