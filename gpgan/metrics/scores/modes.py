"""Modes: how many modes of a mixture, or classes of labelled data, have samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.modes import mode_coverage
from gpgan.metrics.scores.class_kl import class_shares
from gpgan.metrics.scores.classifier_score import needs_classifier


def stacked_modes(digits: Tensor, classes: int) -> tuple[int, float]:
    """How many of the classes ** k combinations of k predicted classes occur, and KL(generated || uniform) in nats.

    Args:
        digits: int64 ``[n, k]``: predicted classes, e.g. of the channels of stacked images.
        classes: In each place.

    Raises:
        ValueError: There are no samples, or a value is not a class.

    Source:
        Srivastava et al., VEEGAN, arXiv 1705.07761; Lin et al., PacGAN, arXiv 1712.04086 (1000 modes, 26,000 samples).
    """
    if digits.dim() != 2 or not digits.numel():
        raise ValueError(f"digits has shape {tuple(digits.shape)}; expected [n, k] with n at least 1")
    if int(digits.min()) < 0 or int(digits.max()) >= classes:
        raise ValueError(
            f"digits has values from {int(digits.min())} to {int(digits.max())}; expected 0 to {classes - 1}, for "
            f"classes = {classes}"
        )
    places = classes ** torch.arange(digits.shape[1])
    counts = torch.bincount((digits * places).sum(1), minlength=classes ** digits.shape[1])
    shares = counts.double() / len(digits)
    return int((counts > 0).sum()), math.log(len(counts)) - float(torch.special.entr(shares).sum())


def _measure(evaluation: Evaluation) -> Score:
    if evaluation.mixture is not None:
        found = mode_coverage(evaluation.fake.vectors * evaluation.scale + evaluation.offset, evaluation.mixture)
        details = {"modes": float(found.modes), "high_quality": found.high_quality, "reverse_kl": found.reverse_kl}
        return Score(found.captured, details)
    shares = class_shares(evaluation.fake.probabilities)
    reverse_kl = max(math.log(len(shares)) - float(torch.special.entr(shares).sum()), 0.0)
    return Score(int((shares > 0).sum()), {"modes": float(len(shares)), "reverse_kl": reverse_kl})


def _refuses(evaluation: Evaluation) -> str:
    return "" if evaluation.mixture is not None else needs_classifier(evaluation)


METRIC = Metric("modes", "Modes", _measure, "higher", refuses=_refuses)
