"""The classifier score: Inception Score's formula with the classifier of this evaluation, and so never called that."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score


def classifier_score(probabilities: Tensor) -> float:
    """exp of the mean KL divergence between each sample's class probabilities and their mean over all samples.

    From 1 (all samples alike to the classifier) to K (each clearly of one class, all classes equally often). Not in
    splits, whose scores depend on the order of the samples.

    Args:
        probabilities: ``[n, K]``; rows sum to 1.

    Raises:
        ValueError: There are no samples, or rows do not sum to 1.

    Source:
        Salimans et al., Improved Techniques for Training GANs, arXiv 1606.03498.
    """
    _check(probabilities)
    p = probabilities.double()
    entropy = torch.special.entr(p).sum(1).mean()
    return float((torch.special.entr(p.mean(0)).sum() - entropy).exp())


def _check(probabilities: Tensor) -> None:
    if probabilities.dim() != 2 or not len(probabilities):
        raise ValueError(f"probabilities have shape {tuple(probabilities.shape)}; expected [n, K] with n at least 1")
    off = float((probabilities.double().sum(1) - 1).abs().max())
    if not off < 1e-3:
        raise ValueError(f"probabilities have a row whose sum is {off:g} from 1; expected rows that sum to 1")


def _measure(evaluation: Evaluation) -> Score:
    classifier = evaluation.fake.classifier
    assert classifier is not None
    return Score(classifier_score(evaluation.fake.probabilities), settings={"classifier": classifier.name})


def needs_classifier(evaluation: Evaluation) -> str:
    """Why there are no classes, or ""."""
    if evaluation.fake.classifier is not None:
        return ""
    return (
        "these features have no classes; expected a classifier: --features lite0, or fashion or digits for their data"
    )


METRIC = Metric("classifier_score", "Classifier score", _measure, "higher", refuses=needs_classifier)
