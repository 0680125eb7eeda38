"""Measures the ladder of a data set: see ``gpgan.metrics.ladder``."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

import gpgan
from gpgan.data.dataset import Dataset
from gpgan.metrics.corruptions import IMAGES, STRENGTHS, missing, repeats
from gpgan.metrics.evaluate import evaluate
from gpgan.metrics.ladder import Ladder
from gpgan.metrics.metric import Evaluation
from gpgan.metrics.reals import Compared, Reals, Rows
from gpgan.metrics.registry import HEADLINE, METRICS


def measure_ladder(dataset: Dataset, reals: Reals, by: Compared, seed: int) -> Ladder:
    """The scores of real samples under every corruption that the data allows, by the headline metrics and those that see
    it.

    The samples that are corrupted are training samples, none of which is in ``reals.real``.

    Args:
        dataset: Of images; with labels for the rungs of missing classes.
        reals: What corrupted samples are compared with; it needs one draw at least.
        by: The networks.
        seed: Of the noise.

    Raises:
        ValueError: The data does not hold images, or has too few.
    """
    if dataset.kind.name != "images":
        raise ValueError(f"data {dataset.name} holds {dataset.kind.name}; expected images, which can be blurred")
    if not reals.draws:
        raise ValueError(
            f"data {dataset.name} has fewer than {2 * len(reals.real)} samples, of which one half is corrupted and compared "
            "with the other; expected more, or a smaller -n"
        )
    n = len(reals.real)
    rungs: dict[str, dict[str, list[tuple[float, float]]]] = {}
    deviations: dict[str, float] = {}
    for kind, strength, samples in _corrupted(dataset, reals, n, seed):
        # Copies are mixed with the samples that they are compared with: only copied_share is meant for them.
        always = HEADLINE if kind != "copies" else ()
        names = [metric.name for metric in METRICS.values() if metric.name in always or kind in metric.sees]
        fake = by.set_of(f"{kind} {strength:g}", samples)
        evaluation = Evaluation(fake, reals.real, reals.training, seed=seed)
        results = evaluate(evaluation, reals.draws, names, strict=False)
        for name, result in results.items():
            if result.score is not None and result.floor is not None:
                steps = rungs.setdefault(kind, {}).setdefault(name, [(0.0, result.floor)])
                steps.append((strength, result.score))
                deviations[name] = result.deviation or 0.0
    about = {
        "data": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "network": by.network.name,
        "identity": by.network.identity,
        "classifier": None if by.classifier is None else by.classifier.name,
        "n": n,
        "seed": seed,
        "gpgan": gpgan.__version__,
        "torch": str(torch.__version__),
        "date": time.strftime("%Y-%m-%d"),
    }
    return Ladder(about, rungs, deviations)


def _corrupted(dataset: Dataset, reals: Reals, n: int, seed: int) -> Iterator[tuple[str, float, Tensor]]:
    """Every corruption, its strength and the corrupted samples ``[n, ...]``, from the weakest on."""
    training = reals.training
    assert isinstance(training.values, Rows)
    clean = training.values[:n]
    whole = dataset.whole or dataset
    for kind, strengths in STRENGTHS.items():
        for strength in strengths:
            if kind in IMAGES:
                rng = torch.Generator().manual_seed(seed)
                yield kind, strength, IMAGES[kind](clean, strength, rng)
            elif kind == "repeats":
                yield kind, strength, clean[repeats(n, strength)]
            elif kind == "copies":
                # Copies are training samples; the others are the samples that are compared with, so neither trained on.
                count = round(strength * n)
                yield kind, strength, torch.cat([clean[:count], reals.real.values[: n - count]])
            elif whole.labels is not None and strength < len(dataset.classes):
                labels = whole.labels[training.values.indices]
                kept = missing(labels, len(dataset.classes), strength, n)
                if len(kept) >= n // 2:  # fewer than n, if the data has no more
                    rows = training.values
                    yield kind, strength, Rows(rows.dataset, rows.stored, rows.indices[kept])[:]
