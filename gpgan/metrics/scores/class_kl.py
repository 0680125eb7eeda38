"""The histogram of predicted classes, and how far it is from that of real samples."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.scores.checks import check_pair
from gpgan.metrics.scores.classifier_score import needs_classifier

# More classes than this are not listed.
LISTED = 100


def class_shares(probabilities: Tensor) -> Tensor:
    """The share of samples whose most probable class is each one, float64 ``[K]``, from ``[n, K]``."""
    count = torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    return count.double() / len(probabilities)


def class_kl(fake: Tensor, real: Tensor) -> float:
    """KL(fake || real) of the shares of the predicted classes, in nats; 0 is best.

    A class that the fakes lack costs a finite amount, log(1 / share of the others) if all are lost. Half a sample is added
    to every class of the reals, so that a class that these happen to lack does not make it infinite.

    Args:
        fake: ``[N, K]``: probabilities of classes.
        real: ``[M, K]``.

    Raises:
        ValueError: There are no samples, the numbers of classes differ, or values are not finite.
    """
    check_pair(fake, real, names=("fake", "real"))
    p, q = class_shares(fake), class_shares(real)
    q = (q * len(real) + 0.5) / (len(real) + 0.5 * len(q))
    return float(torch.special.xlogy(p, p / q).sum().clamp(min=0))


def _measure(evaluation: Evaluation) -> Score:
    fake, real = evaluation.fake, evaluation.real
    classifier = fake.classifier
    assert classifier is not None
    details: dict[str, float] = {}
    if len(classifier.classes) <= LISTED:
        for name, share, its in zip(
            classifier.classes,
            class_shares(fake.probabilities).tolist(),
            class_shares(real.probabilities).tolist(),
            strict=True,
        ):
            details |= {name: share, f"{name}, real": its}
    value = class_kl(fake.probabilities, real.probabilities)
    return Score(value, details, {"classifier": classifier.name})


METRIC = Metric("class_kl", "Class KL, nats", _measure, refuses=needs_classifier, sees=("missing",))
