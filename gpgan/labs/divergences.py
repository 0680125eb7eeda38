"""Jensen-Shannon and Wasserstein-1 between distributions that move apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon  # type: ignore[import-untyped,unused-ignore]
from torch import Tensor, nn

from gpgan.labs.lab import Findings, Progress, Slider, span
from gpgan.labs.training import Draw, perceptron, train_critic
from gpgan.metrics import wasserstein1
from gpgan.penalty import Penalty

TITLE = "Two distributions move apart: what each divergence measures"
CAPTION = """\
Two parallel lines with a gap between them, and two unit intervals, one of which moves. Without overlap the Jensen-Shannon
divergence is log 2 at any distance, so it does not tell a generator where to go; it has a gradient only while the
intervals overlap. The Wasserstein-1 distance is the gap, and its gradient is the gap's sign, near or far (Arjovsky et al.,
arXiv 1701.07875, example 1). Everything here is measured, on fine histograms and by exact transport; gradients are
differences between two measurements. On the right, one distance is computed in three ways: from the distribution
functions, by transport, and in the dual form, by a critic trained with a gradient penalty (Gulrajani et al., arXiv
1704.00028). The critic is divided by its steepest slope, which makes it 1-Lipschitz, so its value can only be too low."""

# Points of a line or an interval, and the size of a histogram's cells: one cell per point.
POINTS, CELL = 100, 0.01
# Half the distance between the two measurements of a gradient.
HALF = 0.02
LINES = np.round(np.arange(-2, 2.05, 0.1), 10)
SLIDES = np.round(np.arange(0, 2.01, 0.05), 10)
# The page shows one in this many of a line's points.
SHOWN = 5
ANCHOR = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2.0, 3.0, 4.0])
# The critic's training: penalty weight, learning rate, steps. At the end the penalty is nearly a constraint; from the
# start, such a weight would hold slopes of the wrong sign at a norm of 1.
STAGES = ((10.0, 3e-3, 600), (100.0, 1e-3, 300), (100.0, 1e-4, 300))

Array = NDArray[np.float64]
Clouds = tuple[Tensor, Tensor]


def lines(gap: float) -> Clouds:
    """Points ``[POINTS, 2]`` of the lines {0} x [0, 1] and {gap} x [0, 1]."""
    heights, _ = intervals(0)
    left, right = (torch.cat([torch.full_like(heights, x), heights], 1) for x in (0.0, gap))
    return left, right


def intervals(gap: float) -> Clouds:
    """Points ``[POINTS, 1]`` spread evenly over [0, 1] and [gap, gap + 1]."""
    points = (torch.arange(POINTS, dtype=torch.float64).unsqueeze(1) + 0.5) / POINTS
    return points, points + gap


def js(x: Tensor, y: Tensor) -> float:
    """The Jensen-Shannon divergence between samples ``[N, D]`` and ``[M, D]`` on a histogram with cells of size CELL, in nats."""
    # Shifted by a quarter of a cell, so that rounding cannot split points that lie on a border.
    cells, cell = np.unique(torch.cat([x, y]).div(CELL).add(0.25).floor().numpy(), axis=0, return_inverse=True)
    p, q = (np.bincount(each.ravel(), minlength=len(cells)) for each in (cell[: len(x)], cell[len(x) :]))
    return float(jensenshannon(p, q) ** 2)


def slope(divergence: Callable[[Tensor, Tensor], float], clouds: Callable[[float], Clouds], gap: float) -> float:
    """The divergence's derivative with respect to the gap, as a central difference."""
    return (divergence(*clouds(gap + HALF)) - divergence(*clouds(gap - HALF))) / (2 * HALF)


def measure(clouds: Callable[[float], Clouds], gaps: Array, progress: Progress) -> dict[str, Array]:
    """Both divergences and their derivatives at each gap."""
    rows = []
    for done, gap in enumerate(gaps.tolist()):
        progress(done / len(gaps), f"gap {gap:g}")
        pair = clouds(gap)
        rows.append((js(*pair), wasserstein1(*pair), slope(js, clouds, gap), slope(wasserstein1, clouds, gap)))
    return dict(zip(("JS", "W1", "JS gradient", "W1 gradient"), np.array(rows).T, strict=True))


def by_distribution_functions(x: Tensor, y: Tensor) -> float:
    """W1 between numbers ``[N]`` and ``[M]``: the area between their distribution functions."""
    at = np.unique(torch.cat([x, y]).numpy())
    p, q = (np.searchsorted(np.sort(each.numpy()), at, side="right") / len(each) for each in (x, y))
    return float((np.abs(p - q)[:-1] * np.diff(at)).sum())


def by_critic(x: Tensor, y: Tensor, progress: Progress) -> tuple[nn.Module, float, float]:
    """A critic trained between numbers ``[N]`` and ``[M]``, its difference of means, and its steepest slope between them."""
    rng = torch.Generator().manual_seed(0)
    critic = perceptron((1, 32, 32, 1), rng)

    def drawing(values: Tensor) -> Draw:
        """Every value equally often, so that the means have no sampling noise; shuffled, for the penalty's pairs."""
        return lambda batch, rng: values.repeat(batch // len(values))[torch.randperm(batch, generator=rng)].unsqueeze(1)

    for stage, (weight, lr, steps) in enumerate(STAGES):
        train_critic(
            critic,
            drawing(x),
            drawing(y),
            steps=steps,
            batch=33 * len(x),
            rng=rng,
            penalty=Penalty(weight=weight),
            lr=lr,
            betas=(0.9, 0.99),
            progress=span(progress, stage / len(STAGES), (stage + 1) / len(STAGES)),
        )
    both = torch.cat([x, y])
    grid = torch.linspace(float(both.min()), float(both.max()), 4001).unsqueeze(1).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(grid).sum(), grid)
    with torch.no_grad():
        difference = float(critic(x.unsqueeze(1)).mean() - critic(y.unsqueeze(1)).mean())
    return critic, difference, float(slopes.abs().max())


def run(progress: Progress) -> Findings:
    """Moves lines and intervals apart, and computes the worked distance in three ways."""
    found = measure(lines, LINES, span(progress, 0.0, 0.4))
    slid = measure(intervals, SLIDES, span(progress, 0.4, 0.5))
    critic, difference, steepest = by_critic(*ANCHOR, span(progress, 0.5, 0.95))
    progress(0.95, "drawing")
    apart, overlapping = LINES != 0, (SLIDES > 0.1) & (SLIDES < 0.9)
    beyond = SLIDES > 1.01 + HALF
    points = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 3.0, dtype=torch.float64)
    # In the plane, where transport is a linear program rather than a sort.
    flat = [torch.stack([values, torch.zeros_like(values)], 1) for values in ANCHOR]
    numbers = {
        "js_same": float(found["JS"][LINES == 0][0]),
        "js_disjoint": float(found["JS"][apart].mean()),
        "js_disjoint_range": float(np.ptp(found["JS"][apart])),
        "js_gradient_disjoint": float(np.abs(found["JS gradient"][apart]).max()),
        "w1_gap_error": float(np.abs(found["W1"] - np.abs(LINES)).max()),
        "w1_gradient_right": float(found["W1 gradient"][LINES > 0].mean()),
        "w1_gradient_left": float(found["W1 gradient"][LINES < 0].mean()),
        "w1_gradient_error": float(np.abs(found["W1 gradient"] - np.sign(LINES))[apart].max()),
        "js_intervals_half": float(slid["JS"][SLIDES == 0.5][0]),
        "js_intervals_apart": float(slid["JS"][SLIDES == 2][0]),
        "js_gradient_intervals_overlapping": float(slid["JS gradient"][overlapping].mean()),
        "js_gradient_intervals_apart": float(np.abs(slid["JS gradient"][beyond]).max()),
        "w1_gradient_intervals_overlapping": float(slid["W1 gradient"][overlapping].mean()),
        "w1_gradient_intervals_apart": float(slid["W1 gradient"][beyond].mean()),
        "js_point_masses": js(*points),
        "w1_point_masses": wasserstein1(*points),
        "worked_anchor_cdf": by_distribution_functions(*ANCHOR),
        "worked_anchor_exact": wasserstein1(*flat),
        "worked_anchor_critic": difference / steepest,
        "worked_anchor_critic_difference": difference,
        "worked_anchor_critic_steepest": steepest,
    }
    return Findings(numbers, _draw(found, slid, critic, numbers), _see(numbers), _slider(found))


def _see(n: dict[str, float]) -> tuple[str, str, str]:
    return (
        f"Lines: at every gap but 0 JS is {n['js_disjoint']:.4f} (log 2 is {np.log(2):.4f}) and its gradient at most "
        f"{n['js_gradient_disjoint']:.1g}; at gap 0 it is {n['js_same']:.0f}. W1 is the gap and its gradient {n['w1_gradient_left']:+.3f} or {n['w1_gradient_right']:+.3f}.",
        f"Intervals: JS has a gradient of {n['js_gradient_intervals_overlapping']:.3f} while they overlap, "
        f"{n['js_gradient_intervals_apart']:.1g} after; W1's is {n['w1_gradient_intervals_overlapping']:.3f} and "
        f"{n['w1_gradient_intervals_apart']:.3f}. Point masses at 0 and 3: W1 {n['w1_point_masses']:.3f}, JS {n['js_point_masses']:.4f}.",
        f"W1 of {{0, 1, 2}} and {{2, 3, 4}}: {n['worked_anchor_cdf']:.4f} by distribution functions, {n['worked_anchor_exact']:.4f} by "
        f"transport, {n['worked_anchor_critic']:.4f} by a trained critic.",
    )


def _slider(found: dict[str, Array]) -> Slider:
    def points(cloud: Tensor) -> tuple[tuple[float, float], ...]:
        return tuple((round(x, 6), round(y, 6)) for x, y in cloud[::SHOWN].tolist())

    return Slider(
        label="gap between the lines",
        positions=tuple(LINES.tolist()),
        readings={name: tuple(values.tolist()) for name, values in found.items()},
        clouds={
            name: tuple(points(lines(gap)[which]) for gap in LINES.tolist())
            for which, name in enumerate(("real", "generated"))
        },
        joined=False,  # JS and the gradient of W1 jump at the gap 0
    )


def _draw(found: dict[str, Array], slid: dict[str, Array], critic: nn.Module, n: dict[str, float]) -> Figure:
    figure = Figure(figsize=(12, 7), layout="constrained")
    panels = figure.subplots(2, 3)
    for column, (gaps, values, what) in enumerate(
        ((LINES, found, "lines"), (SLIDES, slid, "intervals, from left end to left end"))
    ):
        for row, kind in enumerate(("", " gradient")):
            axes = panels[row, column]
            # Dots without lines: at gap 0 the JS of the lines jumps, and so does the gradient of W1.
            axes.plot(gaps, values[f"JS{kind}"], "s", color="#D55E00", mfc="none", ms=5, label="JS")
            axes.plot(gaps, values[f"W1{kind}"], ".", color="#0072B2", ms=6, label="W1")
            axes.set(
                xlabel=f"gap of the {what}",
                ylabel=("nats (JS), units of length (W1)", "derivative with respect to the gap")[row],
            )
            axes.legend()
        panels[0, column].axhline(np.log(2), color="grey", lw=0.8, ls=":")
    panels[0, 0].set_title("Lines: JS is log 2 at every gap but 0")
    panels[1, 0].set_title("Lines: only W1 has a gradient")
    panels[0, 1].set_title("Intervals: JS stops at log 2")
    panels[1, 1].set_title("Intervals: JS's gradient ends with the overlap")
    _draw_anchor(panels[0, 2], panels[1, 2], critic, n)
    for axes in panels.flat:
        axes.grid(alpha=0.3)
    return figure


def _draw_anchor(above: Axes, below: Axes, critic: nn.Module, n: dict[str, float]) -> None:
    at = np.linspace(-0.5, 4.5, 1001)
    p, q = ((at[:, None] >= values.numpy()[None]).mean(1) for values in ANCHOR)
    above.fill_between(at, p, q, color="#0072B2", alpha=0.2)
    above.plot(at, p, color="#000000", label="{0, 1, 2}")
    above.plot(at, q, color="#CC79A7", ls="--", label="{2, 3, 4}")
    above.set(
        xlabel="x", ylabel="distribution function", title=f"The area between is W1 = {n['worked_anchor_cdf']:.3f}"
    )
    above.legend(loc="upper left")
    at = np.linspace(0, 4, 401)
    with torch.no_grad():
        scores = critic(torch.from_numpy(at).float().unsqueeze(1)).numpy()
    scores = (scores - scores[0]) / n["worked_anchor_critic_steepest"]
    below.plot(at, scores, color="#009E73", lw=2, label="trained critic, 1-Lipschitz")
    below.plot(at, -at, color="grey", ls=":", label="slope -1")
    below.set(
        xlabel="x", ylabel="score", title=f"Dual form: the difference of means is {n['worked_anchor_critic']:.3f}"
    )
    below.legend()
