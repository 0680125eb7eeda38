"""The samples themselves as features, for points and other samples of few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Raw:
    """Samples ``[n, ...]`` flattened: see ``FeatureNetwork``.

    Args:
        shape: Of one sample.
    """

    name = "raw"
    classes: Sequence[str] = ()
    about = "the samples themselves"
    notes: Sequence[str] = ()

    def __init__(self, shape: Sequence[int]) -> None:
        self.dimension = math.prod(shape)
        self.identity = f"raw {tuple(shape)}"

    def features(self, samples: Tensor) -> Tensor:
        return samples.detach().to("cpu", torch.float32).flatten(1)

    def probabilities(self, features: Tensor) -> Tensor:
        raise NotImplementedError
