"""The exact Wasserstein-1 distance between sets of samples, and between two sets of real samples for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gpgan.metrics.evaluation import Evaluation, Metric, Values

# Far more pivots than any problem that fits into memory needs; a solver that needs more is stuck.
PIVOTS = 100_000_000


def wasserstein1(x: Tensor, y: Tensor) -> float:
    """W1 between the empirical distributions of two sets of samples, with the Euclidean distance as cost.

    Exact, by POT's network simplex, or by sorting in one dimension. In float64; time and memory grow with N * M: 2500 x
    2500 takes about 50 MB and some seconds.

    Args:
        x: ``[N, ...]``: each sample is flattened to a vector; ``[N]`` are scalars.
        y: ``[M, ...]``, of samples of the same shape.

    Raises:
        ValueError: There are no samples, their shapes differ, or they hold NaN or infinite values.
        ModuleNotFoundError: POT, or SciPy in one dimension, is not installed.
        RuntimeError: The solver found no optimum.

    Source:
        Bonneel et al., Displacement Interpolation Using Lagrangian Mass Transport (2011), as in POT's ``ot.emd2``.
    """
    if x.dim() == 0 or y.dim() == 0 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; expected [N, ...] and [M, ...] with samples of the same shape"
        )
    x, y = _vectors("x", x), _vectors("y", y)
    if x.shape[1] == 1:
        return _on_the_line(x.flatten(), y.flatten())
    try:
        import ot  # type: ignore[import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        raise _missing(error, "POT", "pot") from error
    # Not by a matrix product, which would give equal samples a relative distance of 1e-8 instead of 0.
    cost = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    value, log = ot.emd2([], [], cost, numItermax=PIVOTS, log=True)
    if log["warning"] is not None:
        raise RuntimeError(
            f"no optimal transport found between x {tuple(x.shape)} and y {tuple(y.shape)}: {log['warning']}"
        )
    return float(value)


def w1_floor(samples: Tensor, n: int, *, rng: torch.Generator) -> float:
    """W1 between two disjoint random subsets of n real samples ``[N, ...]``, for comparison with that of generated ones.

    It is what fresh real samples get, and no lower bound: samples that are less varied than real ones, such as blurred
    real images, can be nearer. Use the n that ``wasserstein1`` is given of each set.

    Raises:
        ValueError: There are fewer than 2 * n samples; or as for ``wasserstein1``.
        ModuleNotFoundError, RuntimeError: As for ``wasserstein1``.
    """
    if n < 1 or len(samples) < 2 * n:
        raise ValueError(
            f"n is {n} and there are {len(samples)} samples; expected n from 1 to {len(samples) // 2}, at most half of them"
        )
    order = torch.randperm(len(samples), generator=rng, device=rng.device).to(samples.device)
    return wasserstein1(samples[order[:n]], samples[order[n : 2 * n]])


def _vectors(name: str, samples: Tensor) -> Tensor:
    """float64 ``[N, D]`` on the CPU."""
    vectors = samples.detach().to("cpu", torch.float64).reshape(len(samples), -1) if len(samples) else samples
    if vectors.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(samples.shape)}, which has no values; expected samples [N, ...]")
    if not vectors.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite values; expected finite ones")
    return vectors


def _on_the_line(x: Tensor, y: Tensor) -> float:
    try:
        from scipy.stats import wasserstein_distance  # type: ignore[import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        raise _missing(error, "SciPy", "scipy") from error
    return float(wasserstein_distance(x.numpy(), y.numpy()))


def _missing(error: ModuleNotFoundError, what: str, package: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"the exact Wasserstein distance needs {what}, which is not installed: pip install {package}", name=error.name
    )


def _measure(evaluation: Evaluation) -> Values:
    reals, pool = evaluation.reals, evaluation.pool
    values: Values = {
        "w1": wasserstein1(evaluation.samples[: len(reals)], reals),
        "w1_floor": w1_floor(pool, len(pool) // 2, rng=evaluation.rng()),
    }
    # The diagonal of the box that holds the real samples.
    low, high = (each.double().flatten(1) for each in (pool.amin(0, True), pool.amax(0, True)))
    diagonal = float((high - low).norm())
    return {**values, "w1_range": diagonal} if values["w1"] > diagonal else values


def _rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "w1" not in values:
        return []
    beyond = ""
    if "w1_range" in values:
        beyond = (
            f"; more than real samples can be apart ({values['w1_range']:.1f}): generated values leave the data's range"
        )
    where = "held out" if values["reals_held_out"] else "from the training data"
    return [
        (
            "W1",
            f"{values['w1']:.4f}  exact, between {values['reals']} generated and as many real samples, {where}{beyond}",
        ),
        (
            "W1 of reals",
            f"{values['w1_floor']:.4f}  between two sets of real samples; samples that vary less can be below it",
        ),
    ]


METRIC = Metric("w1", _measure, _rows, lambda evaluation: evaluation.truths is None)
