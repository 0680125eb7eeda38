"""What a feature network is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class FeatureNetwork(Protocol):
    """Maps samples to features, and to probabilities of classes if it is a classifier.

    Attributes:
        name: As given to ``--features``.
        identity: SHA-256, in hex, of its weights and of how it prepares its input: features with another identity are
            not comparable.
        dimension: The number of features.
        classes: The names of its classes; () if it is not a classifier.
        about: One line on the network and its input, shown beside scores.
        notes: What should be known about how samples are prepared, e.g. grey images expanded to three channels.
    """

    name: str
    identity: str
    dimension: int
    classes: Sequence[str]
    about: str
    notes: Sequence[str]

    def features(self, samples: Tensor) -> Tensor:
        """float32 ``[n, dimension]`` of samples ``[n, ...]``, scaled as networks see them: images from -1 to 1.

        On the CPU, whatever the device of the network. A sample's features do not depend on the others.
        """

    def probabilities(self, features: Tensor) -> Tensor:
        """float32 ``[n, classes]`` of features ``[n, dimension]``; only for classifiers."""
