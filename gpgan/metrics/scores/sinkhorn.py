"""The Sinkhorn divergence: transport with an entropic blur, without its bias."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.checks import check_pair

# The blur, as a share of the median distance between real samples.
BLUR = 0.1
# The potentials have converged if no update changes one by more than this share of the regularisation, which leaves a
# relative error of about 1e-5 of the result; at most so many updates.
TOLERANCE, UPDATES = 0.02, 2000
# Updates go this much too far, which takes a tenth of their number (Thibault et al., arXiv 1711.01851).
RELAXATION = 1.7
MOST = 1000


def sinkhorn_divergence(x: Tensor, y: Tensor, blur: float) -> float:
    """OT(x, y) - (OT(x, x) + OT(y, y)) / 2 for the squared Euclidean cost with the regularisation blur^2.

    0 for equal sets. For a small blur it is the squared W2: 9 for points 3 apart.

    Args:
        x: ``[N, d]``.
        y: ``[M, d]``.
        blur: In units of distance; what is nearer together than this is blurred. Above 0.

    Raises:
        ValueError: The shapes do not fit, values are not finite, or the blur is not above 0.
        RuntimeError: The iteration did not converge: the blur is too small for these distances.

    Source:
        Feydy et al., Interpolating between Optimal Transport and MMD using Sinkhorn Divergences, arXiv 1810.08278.
    """
    check_pair(x, y)
    if not 0 < blur < math.inf:
        raise ValueError(f"blur is {blur}; expected a finite number above 0")
    x, y, strength = x.double(), y.double(), blur**2
    return _cost(x, y, strength) - (_cost(x, x, strength) + _cost(y, y, strength)) / 2


def _cost(x: Tensor, y: Tensor, strength: float) -> float:
    """The dual value of entropic transport, in the log domain; the regularisation starts large and halves."""
    cost = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    f, g = torch.zeros(len(x), dtype=torch.float64), torch.zeros(len(y), dtype=torch.float64)
    current = max(float(cost.max()), strength)
    scaled = cost / current
    for _ in range(UPDATES):
        new = _best(g, scaled, current)
        change = float((new - f).abs().max())
        if current == strength and change < TOLERANCE * strength:
            return float(new.mean() + _best(new, scaled.T, current).mean())
        if x is y:
            # Both potentials are equal; their updates would alternate, the means of old and new do not.
            f = g = (f + new) / 2
        else:
            step = RELAXATION if current == strength else 1.0
            f = f + step * (new - f)
            g = g + step * (_best(f, scaled.T, current) - g)
        if current > strength:
            current = max(current / 2, strength)
            scaled = cost / current
    raise RuntimeError(
        f"no convergence after {UPDATES} updates with a blur of {math.sqrt(strength):.3g}; expected a larger blur"
    )


def _best(potential: Tensor, scaled: Tensor, strength: float) -> Tensor:
    """The other potential ``[n]`` that fits to one ``[m]``, given the cost ``[n, m]`` over the strength."""
    return strength * (math.log(len(potential)) - torch.logsumexp(potential / strength - scaled, 1))


def _measure(evaluation: Evaluation) -> Score:
    real = evaluation.real.features
    apart = torch.pdist(real[:1000].double())
    blur = BLUR * float(apart.median()) if len(apart) and float(apart.median()) > 0 else 1.0
    try:
        value = sinkhorn_divergence(evaluation.fake.features, real, blur)
    except RuntimeError:
        value = math.nan  # reported as none: the other metrics need not be lost
    return Score(value, settings={"blur": blur, "cost": "squared Euclidean"})


METRIC = Metric("sinkhorn", "Sinkhorn divergence", _measure, most=MOST)
