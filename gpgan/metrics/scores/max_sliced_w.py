"""The max-sliced Wasserstein distance: W1 along the direction that separates two sets most."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.sliced_w import check_equal, distances_along

# Random directions, of which the best ones are improved by gradient ascent for so many steps.
TRIED, STARTS, STEPS, RATE = 100, 4, 100, 0.05
MOST = 2500


def max_sliced_wasserstein(x: Tensor, y: Tensor, *, rng: torch.Generator) -> float:
    """The largest W1 between projections to a line that gradient ascent on the direction finds.

    A lower bound of the largest. The starts are the direction between the means and the best of random directions: in
    many dimensions random directions alone miss most of it.

    Args:
        x: ``[N, d]``.
        y: ``[N, d]``.
        rng: Draws directions, on the CPU.

    Raises:
        ValueError: The sets have different shapes, there are no samples, or values are not finite.

    Source:
        Deshpande et al., Max-Sliced Wasserstein Distance and its Use for GANs, arXiv 1904.05877.
    """
    check_equal(x, y)
    x, y = x.double(), y.double()
    directions = torch.randn(x.shape[1], TRIED, generator=rng, dtype=torch.float64)
    directions = torch.cat([(x.mean(0) - y.mean(0))[:, None], directions], 1)
    directions /= directions.norm(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    values = distances_along(x, y, directions)
    best = 0.0
    chosen = directions[:, values.topk(min(STARTS, len(values))).indices]
    first, second = torch.zeros_like(chosen), torch.zeros_like(chosen)
    for step in range(1, STEPS + 1):
        chosen = chosen.detach().requires_grad_()
        with torch.enable_grad():
            values = distances_along(x, y, chosen)
            (gradient,) = torch.autograd.grad(values.sum(), chosen)
        best = max(best, float(values.detach().max()))
        # Adam, then back to the sphere.
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient.square()
        move = first / (1 - 0.9**step) / ((second / (1 - 0.99**step)).sqrt() + 1e-12)
        chosen = chosen.detach() + RATE * move / move.shape[0] ** 0.5
        chosen = chosen / chosen.norm(dim=0)
    return max(best, float(distances_along(x, y, chosen).max()))


def _measure(evaluation: Evaluation) -> Score:
    value = max_sliced_wasserstein(evaluation.fake.features, evaluation.real.features, rng=evaluation.rng())
    return Score(value, settings={"starts": STARTS, "steps": STEPS, "p": 1})


METRIC = Metric("max_sliced_w", "Max-sliced W1", _measure, most=MOST)
