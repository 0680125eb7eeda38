"""The exact Wasserstein-1 distance between sets of samples, and between two sets of real samples for comparison."""

from __future__ import annotations

import math

import torch
from torch import Tensor

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
    x, y = _pair(x, y)
    return _on_the_line(x.flatten(), y.flatten()) if x.shape[1] == 1 else _transport(_distances(x, y))


def wasserstein2(x: Tensor, y: Tensor) -> float:
    """W2: the root of the exact transport cost under the squared Euclidean distance. All else as for ``wasserstein1``."""
    return math.sqrt(max(_transport(_distances(*_pair(x, y)).square()), 0.0))


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.dim() == 0 or y.dim() == 0 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; expected [N, ...] and [M, ...] with samples of the same shape"
        )
    return _vectors("x", x), _vectors("y", y)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # Not by a matrix product, which would give equal samples a relative distance of 1e-8 instead of 0.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _transport(cost: Tensor) -> float:
    """The exact optimal transport cost between equal masses, for a cost matrix ``[N, M]``."""
    try:
        import ot  # type: ignore[import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        raise _missing(error, "POT", "pot") from error
    value, log = ot.emd2([], [], cost.numpy(), numItermax=PIVOTS, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"no optimal transport found for a cost matrix {tuple(cost.shape)}: {log['warning']}")
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
