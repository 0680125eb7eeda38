"""The Vendi score: the effective number of different samples."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.checks import check_finite


def vendi(features: Tensor) -> float:
    """exp of the entropy of the eigenvalues of K / n, where K holds the cosine similarities of all pairs of samples.

    n equal samples give 1, n samples orthogonal to each other n. Computed from the d x d matrix X^T X / n of the
    normalised features X, which has the same eigenvalues.

    Args:
        features: ``[n, d]``; rows of zeros are similar to nothing, not to themselves either.

    Raises:
        ValueError: There are no samples, or features are not finite.

    Source:
        Friedman and Dieng, The Vendi Score, arXiv 2210.02410.
    """
    if features.dim() != 2 or not len(features):
        raise ValueError(f"features have shape {tuple(features.shape)}; expected [n, d] with n at least 1")
    check_finite("features", features)
    total = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for rows in torch.split(features, 4096):
        rows = torch.nn.functional.normalize(rows.double(), dim=1)
        total += rows.T @ rows
    shares = torch.linalg.eigvalsh(total / len(features)).clamp(min=0)
    return float(torch.special.entr(shares).sum().exp())


def _measure(evaluation: Evaluation) -> Score:
    return Score(vendi(evaluation.fake.features), settings={"similarity": "cosine"})


METRIC = Metric("vendi", "Vendi score", _measure, "higher")
