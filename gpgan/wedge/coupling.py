"""Which candidates explain which observations: a transport plan between them, entropic or not.

The cost of a candidate x (a class in a pose) for an observation y is ``|y - T x|^2 / 2 s^2``. Each observation has mass 1.
CryoWGEN takes the entropic plan, whose weights are a Boltzmann posterior; CryoGEN-II the plan of least cost.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Passes of Sinkhorn's algorithm, and where it stops: the largest relative error of a class's mass.
PASSES, TOLERANCE = 200, 1e-4


def entropic(scores: Tensor, gamma: float, masses: Tensor | None = None) -> Tensor:
    """Weights proportional to ``exp(score / gamma)``, with the classes' masses fixed if they are given.

    With gamma = 1 and free masses these are the posterior probabilities of poses and classes: expectation maximisation.

    Args:
        scores: Log-likelihoods ``[B, K, P]`` of B observations for P poses of K classes; -inf for a candidate that is none.
        gamma: The temperature, above 0.
        masses: The share of each class, ``[K]``, adding up to 1: then Sinkhorn's algorithm (Cuturi, arXiv 1306.0895) fixes
            both marginals. None: free.

    Returns:
        ``[B, K, P]``; each observation's add up to 1.
    """
    logits = scores.double() / gamma
    if masses is None or len(masses) == 1:
        return logits.flatten(1).softmax(1).view_as(logits).to(scores)
    by_class = logits.logsumexp(2)  # [B, K]
    wanted = (masses.double() * len(scores)).log()
    potential = torch.zeros(len(masses), dtype=torch.float64, device=scores.device)
    for _ in range(PASSES):
        log_plan = (by_class + potential).log_softmax(1)
        missing = wanted - log_plan.logsumexp(0)
        potential = potential + missing
        if float(missing.abs().max()) < TOLERANCE:
            break
    weights = (by_class + potential).softmax(1)
    return ((logits - by_class[:, :, None]).exp() * weights[:, :, None]).to(scores)


def exact(scores: Tensor, masses: Tensor | None = None) -> Tensor:
    """The plan of least cost: each observation's best candidate, with the classes' masses fixed if they are given.

    Args:
        scores: As for ``entropic``.
        masses: As for ``entropic``; then a linear program (network simplex) assigns observations to classes.

    Returns:
        ``[B, K, P]``; each observation's add up to 1.
    """
    best, pose = scores.max(2)  # [B, K]
    if masses is None or len(masses) == 1:
        plan = torch.nn.functional.one_hot(best.argmax(1), best.shape[1]).to(scores)
    else:
        import ot  # type: ignore[import-untyped,unused-ignore]

        count = len(scores)
        mass = torch.full((count,), 1 / count, dtype=torch.float64)
        cost = (best.amax(1, keepdim=True) - best).double().cpu()
        plan = (count * ot.emd(mass, masses.double().cpu() / float(masses.sum()), cost)).to(scores)
    return torch.zeros_like(scores).scatter_(2, pose[:, :, None], plan[:, :, None])


def minibatch(scores: Tensor, gamma: float = 0.0) -> Tensor:
    """The plan with both marginals uniform: every candidate explains as many observations, for uniform poses.

    Args:
        scores: As for ``entropic``.
        gamma: 0 for the exact plan, above for Sinkhorn's.

    Returns:
        ``[B, K, P]``; each observation's add up to 1.
    """
    import ot

    count, candidates = len(scores), scores[0].numel()
    cost = -scores.flatten(1).double().cpu()
    cost = cost - cost.amin()
    rows = torch.full((count,), 1 / count, dtype=torch.float64)
    columns = torch.full((candidates,), 1 / candidates, dtype=torch.float64)
    plan: Tensor = (
        ot.emd(rows, columns, cost) if gamma == 0 else ot.sinkhorn(rows, columns, cost, gamma, method="sinkhorn_log")
    )
    return (count * plan).to(scores).view_as(scores)


def effective(weights: Tensor) -> Tensor:
    """The effective number of candidates of each observation, ``1 / sum w^2``: ``[B]``."""
    return 1 / weights.flatten(1).square().sum(1).clamp_min(math.ulp(0.0))
