"""W1: the exact Wasserstein-1 distance between two sets of features."""

from __future__ import annotations

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.transport import wasserstein1

# Time and memory of the exact solution grow with n * n and more.
MOST = 2500


def _measure(evaluation: Evaluation) -> Score:
    return Score(wasserstein1(evaluation.fake.features, evaluation.real.features), settings={"cost": "Euclidean"})


def _warn(evaluation: Evaluation) -> str:
    """Whether the fakes lie farther from the reals than these are apart."""
    real, fake = (each.features.double() for each in (evaluation.real, evaluation.fake))
    diagonal = float((real.amax(0) - real.amin(0)).norm())
    away = float((fake - real.mean(0)).norm(dim=1).mean())
    if away <= diagonal:
        return ""
    return (
        f"generated samples are {away:.3g} from the mean of the real ones, more than real samples can be apart "
        f"({diagonal:.3g}): they leave the data's range"
    )


METRIC = Metric("w1", "W1", _measure, most=MOST, warn=_warn)
