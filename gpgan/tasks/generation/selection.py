"""Evaluation during training, on samples that are set aside: it chooses the best checkpoint."""

from __future__ import annotations

import functools

from torch import Tensor

from gpgan.data import Dataset
from gpgan.metrics.metric import Generated
from gpgan.metrics.quality import compared_by, quality
from gpgan.metrics.reals import Compared, Reals, selection_part
from gpgan.metrics.registry import METRICS, cheap_names
from gpgan.tasks.task import Curve, Number, Panel
from gpgan.util import random_states

# Samples of each set.
COUNT = 1000
# The label of a metric's floor in curves and report.
FLOOR = "_floor"


class Selection:
    """Measures samples by the metrics that are cheap for this kind of data.

    Args:
        dataset: Split, with a selection.
        device: Of the feature network.
    """

    def __init__(self, dataset: Dataset, device: str) -> None:
        self._dataset, self._device = dataset, device
        assert dataset.selection is not None
        self.count = min(COUNT, len(dataset.selection))

    @functools.cached_property
    def _by(self) -> Compared:
        return compared_by(self._dataset, device=self._device)

    @functools.cached_property
    def _reals(self) -> Reals:
        return selection_part(self._dataset, self.count, self._by)

    def measure(self, samples: Tensor) -> dict[str, float | None]:
        """The scores of samples ``[count, ...]`` by name, and the floor of the one that chooses."""
        with random_states.borrowed():  # networks draw their first weights
            return self._measured(samples)

    def _measured(self, samples: Tensor) -> dict[str, float | None]:
        names = cheap_names(self._dataset.kind.name)
        fake = self._by.set_of("generated samples", samples.cpu())
        results = quality(fake, Generated(samples), self._dataset, self._reals, self._by, names)
        scores = {name: result.score for name, result in results.items()}
        return {**scores, names[0] + FLOOR: results[names[0]].floor}


def selection_numbers(kind: str) -> dict[str, Number]:
    """How the numbers of ``Selection.measure`` are shown."""
    numbers = {name: Number(METRICS[name].label) for name in cheap_names(kind)}
    first = cheap_names(kind)[0]
    numbers[first] = Number(METRICS[first].label, first)
    return {**numbers, first + FLOOR: Number(f"{METRICS[first].label}, of real samples")}


def selection_panels(kind: str) -> list[Panel]:
    """Curves of ``Selection.measure``."""
    first, *others = cheap_names(kind)
    shares = [name for name in others if METRICS[name].better == "higher"]
    return [
        Panel(
            "Quality on samples that are set aside",
            METRICS[first].label,
            (Curve(first, "generated samples"), Curve(first + FLOOR, "real samples")),
            empty="not evaluated yet",
        ),
        Panel(
            f"{', '.join(shares).capitalize()}",
            "share",
            tuple(Curve(name, name) for name in shares),
            empty="not evaluated yet",
        ),
    ]
