"""Weight clipping, too tight and too loose, compared with the gradient penalty: surfaces, gradients by layer, weights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import ot  # type: ignore[import-untyped,unused-ignore]
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from torch import Tensor, nn

from gpgan.data.plane import load_grid, load_ring, load_swissroll
from gpgan.labs.lab import Findings, Progress, span
from gpgan.labs.training import perceptron, train_critic
from gpgan.penalty import Penalty

Array = NDArray[np.float64]

TITLE = "Weight clipping against the gradient penalty"
CAPTION = """\
The dual form of the Wasserstein-1 distance needs a critic whose slope is nowhere above 1. The first WGAN bounds every
weight instead (Arjovsky et al., arXiv 1701.07875). Here the generator is fixed: it outputs the data plus noise of
variance 1, and critics with three hidden layers are trained to tell the two apart. The data are the ring, grid and swiss
roll in the units of the WGAN-GP authors' toy code (radius 1.41; steps of 0.71; spiral up to 1.9); the penalty's weight is
1. With weights of at most c these critics can have slopes of up to sqrt(2) 64^3 c^4: 4e-7 for c = 0.001 and 4e5 for c = 1.
Even when rescaled, both surfaces are coarse: on the ring they score the empty middle above the modes. The penalty
keeps slopes of the order of 1 (somewhat above, as a weight of 1 is a soft constraint), shows the ring's hole and comes
closest to the best possible critic, the Kantorovich potential of exact transport between the same samples. In a critic
of twelve layers the bound acts in every layer, so that gradients vanish or explode geometrically as they are
backpropagated. Bounds of 0.001 and 0.01 are far below most initial weights: the first clipping moves nearly all of them to
the bound, where they stay. At 0.1, training itself drives more of them to the bound. With the penalty, gradients keep
their size and weights do not pile up. After figure 1 of Gulrajani et al., arXiv 1704.00028."""

# Width and hidden layers of the critics whose surfaces are shown, and hidden layers of the deep one: 12 weight layers.
WIDTH, HIDDEN, DEEP = 64, 3, 11
# Updates at each learning rate; the second, lower rate lets the critic settle. Rates are lower for bounds below 0.01.
STEPS, DEEP_STEPS, BATCH = {2e-3: 650, 2e-4: 200}, {2e-3: 350, 2e-4: 50}, 256
# The bound of weight clipping, or None for the penalty.
WAYS: dict[str, float | None] = {"clip_0.001": 0.001, "clip_1": 1.0, "penalty": None}
DEEP_WAYS: dict[str, float | None] = {"clip_0.001": 0.001, "clip_0.01": 0.01, "clip_0.1": 0.1, "penalty": None}
NAMES = {"clip_0.001": "clipping at 0.001", "clip_0.01": "clipping at 0.01", "clip_0.1": "clipping at 0.1"} | {
    "clip_1": "clipping at 1",
    "penalty": "gradient penalty",
}
PENALTY = Penalty(weight=1.0)
# Real samples, and as many fake ones, on which a critic is judged.
JUDGED = 1000
RASTER, RIM = 100, 0.4
# Okabe and Ito's colours, distinguishable with any kind of colour blindness.
COLOURS = {"clip_0.001": "#0072B2", "clip_0.01": "#56B4E9", "clip_0.1": "#D55E00", "penalty": "#009E73"}
MARKERS = {"clip_0.001": "v", "clip_0.01": "s", "clip_0.1": "^", "penalty": "o"}


def data_sets() -> dict[str, Tensor]:
    """Points ``[N, 2]`` in the units of the original toy code."""
    return {
        "ring": load_ring().samples() * 2**0.5,
        "grid": load_grid().samples() / 8**0.5,
        "swissroll": load_swissroll().samples(),
    }


def real(points: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``[count, 2]``, drawn from the points ``[N, 2]``."""
    return points[torch.randint(len(points), (count,), generator=rng)]


def fake(points: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``[count, 2]`` from the fixed generator: the data plus standard normal noise."""
    return real(points, count, rng) + torch.randn(count, 2, generator=rng)


def train(
    points: Tensor, hidden: int, steps: dict[float, int], max_weight: float | None, progress: Progress
) -> nn.Sequential:
    """A critic with ``hidden`` hidden layers, clipped at ``max_weight``, or penalised if that is None.

    All critics start from the same weights and see the same samples.
    """
    rng = torch.Generator().manual_seed(0)
    critic = perceptron([2, *[WIDTH] * hidden, 1], rng)
    done, total = 0, sum(steps.values())
    for lr, count in steps.items():
        train_critic(
            critic,
            lambda batch, rng: real(points, batch, rng),
            lambda batch, rng: fake(points, batch, rng),
            steps=count,
            batch=BATCH,
            rng=rng,
            penalty=PENALTY if max_weight is None else None,
            # Adam's steps are about as large as its rate. Above a fifth of the bound, weights would jump from end to end.
            lr=lr if max_weight is None else lr * min(1.0, 100 * max_weight),
            max_weight=max_weight,
            progress=span(progress, done / total, (done + count) / total),
        )
        done += count
    # After twelve layers with a tight bound a gradient is below float32's smallest number.
    return critic.double()


def potential(x: Tensor, y: Tensor) -> tuple[float, Array]:
    """W1 between samples ``[N, 2]`` and ``[M, 2]``, and the best critic's scores ``[N + M]`` of them, up to a constant.

    The dual solution of the transport problem is a 1-Lipschitz function on the samples whose means differ by W1.
    """
    w1, log = ot.emd2([], [], torch.cdist(x.double(), y.double()).numpy(), log=True)
    return float(w1), np.concatenate([log["u"], -log["v"]])


def judge(critic: nn.Module, x: Tensor, y: Tensor, best: Array) -> dict[str, float]:
    """Measures of a critic on real samples ``[N, 2]`` and fake ones ``[M, 2]``, given the best critic's scores ``[N + M]``."""
    points = torch.cat([x, y]).double().requires_grad_()
    scores = critic(points)
    slopes = torch.autograd.grad(scores.sum(), points)[0].norm(dim=1)
    values = scores.detach().numpy()
    return {
        "estimate": float(values[: len(x)].mean() - values[len(x) :].mean()),
        "slope_largest": float(slopes.max()),
        "slope_median": float(slopes.median()),
        "share_of_best": _explained(best, np.column_stack([values / np.abs(values).max(), np.ones(len(values))])),
    }


def _explained(values: Array, by: Array) -> float:
    """The share of the variance of values ``[n]`` explained by the best combination of columns ``[n, k]``: R^2."""
    fit = by @ np.linalg.lstsq(by, values, rcond=None)[0]
    return float(1 - np.var(values - fit) / np.var(values))


def layer_gradients(critic: nn.Sequential, x: Tensor, y: Tensor) -> Array:
    """The norm ``[hidden]`` of the critic loss's gradient at each hidden layer's output, starting at the input."""
    value, outputs = torch.cat([x, y]).double(), []
    for layer in critic:
        value = layer(value)
        if isinstance(layer, nn.ReLU):
            outputs.append(value)
    loss = value[len(x) :].mean() - value[: len(x)].mean()
    return np.array([float(gradient.norm()) for gradient in torch.autograd.grad(loss, outputs)])


def share_below_centre(critic: nn.Module, x: Tensor) -> float:
    """The share of the real samples ``[N, 2]`` that score below the centre."""
    with torch.no_grad():
        return float((critic(x.double()) < critic(torch.zeros(1, 2).double())).double().mean())


def hidden_weights(critic: nn.Sequential) -> Array:
    """The weights ``[n]`` between hidden layers, which were all drawn from one distribution."""
    weights = [layer.weight.detach().flatten() for layer in critic if isinstance(layer, nn.Linear)]
    return np.asarray(torch.cat(weights[1:-1]).numpy())


def run(progress: Progress) -> Findings:
    """Trains the critics and judges them."""
    sets = data_sets()
    jobs = [(name, way) for name in sets for way in WAYS] + [("swissroll", way) for way in DEEP_WAYS]
    # A step of the deep critic takes about three times as long, and it is trained for half as many.
    effort = np.cumsum([0, *[2] * (len(sets) * len(WAYS)), *[3] * len(DEEP_WAYS)])
    shares = (effort / effort[-1]).tolist()
    parts = [span(progress, start, end) for start, end in pairwise(shares)]
    numbers: dict[str, float] = {}
    critics, deep = {}, {}
    rng = torch.Generator().manual_seed(1)
    judged = {name: (real(points, JUDGED, rng), fake(points, JUDGED, rng)) for name, points in sets.items()}
    best = {}
    for name, (x, y) in judged.items():
        numbers[f"w1_{name}"], best[name] = potential(x, y)
    for index, (name, way) in enumerate(jobs):
        if index < len(sets) * len(WAYS):
            critics[name, way] = train(sets[name], HIDDEN, STEPS, WAYS[way], parts[index])
            found = judge(critics[name, way], *judged[name], best[name])
            numbers |= {f"{what}_{name}_{way}": value for what, value in found.items()}
            if name == "ring":
                numbers[f"share_below_centre_ring_{way}"] = share_below_centre(critics[name, way], judged[name][0])
        else:
            deep[way] = train(sets[name], DEEP, DEEP_STEPS, DEEP_WAYS[way], parts[index])
    gradients = {way: layer_gradients(critic, *judged["swissroll"]) for way, critic in deep.items()}
    weights = {way: hidden_weights(critic) for way, critic in deep.items()}
    first = np.abs(hidden_weights(perceptron([2, *[WIDTH] * DEEP, 1], torch.Generator().manual_seed(0))))
    for way, bound in DEEP_WAYS.items():
        numbers[f"deep_gradient_first_over_last_{way}"] = float(gradients[way][0] / gradients[way][-1])
        size = np.abs(weights[way])
        numbers[f"deep_weights_at_the_extremes_{way}"] = float(np.mean(size > 0.99 * size.max()))
        if bound is not None:
            numbers[f"deep_weights_the_first_clip_bounds_{way}"] = float(np.mean(first >= bound))
    progress(1.0, "drawing")
    figure = Figure(figsize=(10, 13), layout="constrained")
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.6, 1))
    _surfaces(above, sets, critics, numbers)
    _deep(below, gradients, weights, numbers)
    return Findings(numbers, figure, _see(numbers, list(sets)))


def _see(n: dict[str, float], sets: list[str]) -> tuple[str, str, str]:
    def over(what: str, way: str, form: str) -> str:
        values = [n[f"{what}_{name}_{way}"] for name in sets]
        return f"{min(values):{form}} to {max(values):{form}}"

    return (
        f"Largest slope of the critic, where theory asks for 1: {over('slope_largest', 'clip_0.001', '.1e')} (clipped at 0.001), "
        f"{over('slope_largest', 'clip_1', '.1e')} (at 1) and {over('slope_largest', 'penalty', '.1f')} (penalty).",
        f"Share of the best critic's variance that they explain: {over('share_of_best', 'clip_0.001', '.0%')} (clipped at 0.001), "
        f"{over('share_of_best', 'clip_1', '.0%')} (at 1) and {over('share_of_best', 'penalty', '.0%')} (penalty). "
        "Share of the ring's samples that score below its empty centre: "
        + ", ".join(f"{n[f'share_below_centre_ring_{way}']:.0%} ({NAMES[way]})" for way in WAYS)
        + ".",
        "Gradient at the first hidden layer divided by that at the last one, in a critic of twelve layers: "
        + ", ".join(f"{n[f'deep_gradient_first_over_last_{way}']:.2g} ({NAMES[way]})" for way in DEEP_WAYS)
        + ". Weights at the bound after the first clipping and at the end: "
        + ", ".join(
            f"{n[f'deep_weights_the_first_clip_bounds_clip_{bound}']:.0%} and "
            f"{n[f'deep_weights_at_the_extremes_clip_{bound}']:.0%} (at {bound})"
            for bound in ("0.01", "0.1")
        )
        + ".",
    )


def _surfaces(
    figure: SubFigure, sets: dict[str, Tensor], critics: dict[tuple[str, str], nn.Sequential], numbers: dict[str, float]
) -> None:
    panels = figure.subplots(len(sets), len(WAYS))
    heads = ("Clipping at 0.001, too tight", "Clipping at 1, too loose", f"Gradient penalty, weight {PENALTY.weight:g}")
    for row, (name, points) in zip(panels, sets.items(), strict=True):
        reach = float(points[:2000].abs().max()) + RIM
        line = torch.linspace(-reach, reach, RASTER)
        raster = torch.cartesian_prod(line, line).double()
        for axes, way, head in zip(row, WAYS, heads, strict=True):
            with torch.no_grad():
                scores = critics[name, way](raster).reshape(RASTER, RASTER).T.numpy()
            # Each on its own scale, because the values differ by twelve orders of magnitude.
            axes.contourf(line, line, (scores - scores.min()) / np.ptp(scores), levels=14, cmap="cividis")
            axes.scatter(*points[:600].T, s=3, color="white", edgecolors="black", linewidths=0.25)
            slope, share = (numbers[f"{what}_{name}_{way}"] for what in ("slope_largest", "share_of_best"))
            first = f"{head}\n" if name == next(iter(sets)) else ""
            axes.set_title(f"{first}slope up to {slope:.2g}; {share:.0%} of the best critic", fontsize=10)
            axes.set_aspect("equal")
            axes.tick_params(labelsize=9)
            axes.set_xlabel("x1", fontsize=10)
            axes.set_ylabel("x2", fontsize=10)
        row[0].set_ylabel(f"{name}: x2", fontsize=10)
    figure.suptitle(
        "Critic scores over the plane: brighter is scored as more real; each panel has its own scale", fontsize=12
    )


def _deep(figure: SubFigure, gradients: dict[str, Array], weights: dict[str, Array], numbers: dict[str, float]) -> None:
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    for way, norms in gradients.items():
        style = {"color": COLOURS[way], "marker": MARKERS[way], "label": NAMES[way], "ms": 5}
        left.semilogy(range(1, len(norms) + 1), norms / norms[-1], **style)
    left.set_xlabel("hidden layer, from the input (1) to the score", fontsize=10)
    left.set_ylabel("gradient norm relative to layer 11", fontsize=10)
    left.set_title("Twelve layers: gradients vanish, explode, or keep their size", fontsize=11)
    left.legend(fontsize=9)
    left.grid(alpha=0.3)
    first = numbers["deep_weights_the_first_clip_bounds_clip_0.1"]
    _histogram(middle, weights, numbers, "clip_0.1", f"at a bound, {first:.1%} initially")
    _histogram(right, weights, numbers, "penalty", "at an extreme")
    for axes in (left, middle, right):
        axes.tick_params(labelsize=9)
    figure.suptitle("The 12-layer critic on the swiss roll", fontsize=12)


def _histogram(axes: Axes, weights: dict[str, Array], numbers: dict[str, float], way: str, where: str) -> None:
    share = numbers[f"deep_weights_at_the_extremes_{way}"]
    axes.hist(weights[way], bins=61, color=COLOURS[way])
    axes.set_title(f"{NAMES[way]}:\n{share:.1%} {where}", fontsize=11)
    axes.set_xlabel("weight between hidden layers", fontsize=10)
    axes.set_ylabel("weights", fontsize=10)
    axes.locator_params(axis="x", nbins=4)
