"""The share of samples that are copies of training samples, or nearly so."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.sample_set import SampleSet
from gpgan.metrics.scores.checks import check_pair
from gpgan.metrics.scores.neighbours import nearest_squares

# A sample is a copy if it is as near to a training sample as this share of held-out samples are.
QUANTILE = 0.01
# Fewer held-out samples have no such quantile.
FEWEST = 100
MOST = 2500


def copied_share(fake: Tensor, held_out: Tensor, training: Tensor) -> float:
    """The share of fakes as near to a training sample as the 1 % quantile of held-out samples' distances, or nearer.

    About 0.01 for samples that are as new as held-out ones, 1 for copies. All distances are between features. Held-out
    samples that equal a training sample are measured by the nearest other one, so that data with repeated samples has a
    quantile above 0.

    Args:
        fake: ``[N, d]``.
        held_out: ``[M, d]``, M at least 100: real samples that are not in ``training``.
        training: ``[K, d]``.

    Raises:
        ValueError: There are too few samples, their features differ in number, or are not finite.
    """
    check_pair(fake, training, names=("fake", "training"))
    check_pair(held_out, training, names=("held_out", "training"))
    if len(held_out) < FEWEST:
        raise ValueError(
            f"held_out has {len(held_out)} samples; expected {FEWEST} or more, for a quantile of {QUANTILE}"
        )
    border = _border(nearest_squares(held_out, training, unequal=True))
    return _below(nearest_squares(fake, training), border)


def _border(squares: Tensor) -> float:
    return float(squares.double().quantile(QUANTILE))


def _below(squares: Tensor, border: float) -> float:
    return float((squares <= border).double().mean())


def _squares(samples: SampleSet, evaluation: Evaluation) -> Tensor:
    """The squared distance of each sample to what may have been copied."""
    real, training = evaluation.real, evaluation.training
    assert training is not None
    unequal = samples is real

    def compute() -> Tensor:
        squares = nearest_squares(samples.features, training.features, unequal=unequal)
        if evaluation.held_out:
            return squares
        return torch.minimum(squares, nearest_squares(samples.features, real.features, unequal=unequal))

    # Kept with the samples, of which those of the training set are no part.
    key = training.key or repr(float(training.features.sum(0).double().sum()))
    name = f"squared distance to training samples {key}, {evaluation.held_out}"
    return samples.derived(name, compute)


def _measure(evaluation: Evaluation) -> Score:
    border = _border(_squares(evaluation.real, evaluation))
    training = evaluation.training
    assert training is not None
    settings = {"quantile": QUANTILE, "training samples": len(training)}
    return Score(_below(_squares(evaluation.fake, evaluation), border), settings=settings)


def _floor(evaluation: Evaluation) -> Score:
    """What held-out samples score: the quantile is that of one half of them, the share that of the other."""
    squares = _squares(evaluation.real, evaluation)
    half = len(squares) // 2
    return Score(_below(squares[half:], _border(squares[:half])))


def _refuses(evaluation: Evaluation) -> str:
    if evaluation.training is None:
        return "there are no training samples to compare with; expected a run, or real samples beyond those compared"
    if len(evaluation.real) < FEWEST:
        return f"there are {len(evaluation.real)} real samples; expected {FEWEST} or more, for a quantile of {QUANTILE}"
    return ""


METRIC = Metric(
    "copied_share",
    "Copied share",
    _measure,
    refuses=_refuses,
    most=MOST,
    floor=_floor,
    sees=("copies",),
    unbiased=True,
)
