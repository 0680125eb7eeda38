"""Compares generated samples with the data of a run, or with any data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gpgan.data.dataset import Dataset
from gpgan.metrics import ladder
from gpgan.metrics.evaluate import evaluate
from gpgan.metrics.features.registry import classifier_name, default_name, open_network
from gpgan.metrics.metric import Evaluation, Generated, Result
from gpgan.metrics.reals import Compared, Reals
from gpgan.metrics.sample_set import SampleSet


def compared_by(
    dataset: Dataset,
    features: str = "",
    *,
    device: str = "cpu",
    inception_weights: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, count: None,
) -> Compared:
    """The networks that a data set's samples are compared by.

    Args:
        dataset: The real samples.
        features: A name as for ``gpgan eval --features``; "" for the data's default.
        device: Of the networks.
        inception_weights: For the features "inception".
        progress: See ``Compared``.
    """
    name = features or default_name(dataset)
    network = open_network(name, shape=dataset.shape, device=device, inception_weights=inception_weights)
    other = classifier_name(dataset)
    classifier = network if network.classes else None
    if other and other != name:
        classifier = open_network(other, shape=dataset.shape, device=device)
    return Compared(network, classifier, progress)


def quality(
    fake: SampleSet,
    generated: Generated,
    dataset: Dataset,
    reals: Reals,
    by: Compared,
    names: Sequence[str],
    *,
    strict: bool = False,
    seed: int = 0,
) -> dict[str, Result]:
    """The results of metrics: see ``evaluate``; ``fake`` is the set of the generated samples."""
    evaluation = Evaluation(
        fake=fake,
        real=reals.real,
        training=reals.training,
        held_out=reals.held_out,
        truths=generated.truths,
        mixture=dataset.modes,
        scale=dataset.scale,
        offset=dataset.offset,
        critic=generated.critic,
        seed=seed,
    )
    found = ladder.find(dataset.fingerprint(), by.network.identity, len(fake))
    return evaluate(evaluation, reals.draws, names, strict=strict, ladder=found)
