"""What every loader returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Samples as the networks see them, and the way back to the values they came in.

    Attributes:
        name: A short name, fit for a folder.
        samples: float32 ``[N, D]`` for vectors, ``[N, C, H, W]`` for images.
        scale: original = samples * scale + offset.
        offset: See scale.
    """

    name: str
    samples: Tensor
    scale: float = 1.0
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.samples.shape[1:])
