"""The handwritten digits of scikit-learn."""

from __future__ import annotations

import torch

from gpgan.data.dataset import Dataset


def load_digits() -> Dataset:
    """1797 images ``[1, 8, 8]`` of handwritten digits, 0..16 scaled to [-1, 1].

    Raises:
        ModuleNotFoundError: scikit-learn, whose wheel holds the images, is not installed.

    Source:
        Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), its test split.
    """
    from sklearn import datasets  # type: ignore[import-untyped,unused-ignore]

    images = torch.from_numpy(datasets.load_digits().images).float()
    return Dataset("digits", (images / 8 - 1).unsqueeze(1), scale=8.0, offset=8.0)
