"""Fashion-MNIST, as Debian packages it."""

from __future__ import annotations

from pathlib import Path

import torch

from gpgan.data.dataset import Dataset
from gpgan.data.idx import read_idx

FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def load_fashion() -> Dataset:
    """60 000 labelled images ``[1, 28, 28]`` of clothes, bytes scaled to [-1, 1], and 10 000 held out.

    Raises:
        ValueError: The Debian package is not installed, or one of its files is damaged.

    Source:
        Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv 1708.07747.
    """
    if not FOLDER.is_dir():
        raise ValueError(f"data is 'fashion' and {FOLDER} does not exist: apt-get install dataset-fashion-mnist")
    images, labels, held_out, held_out_labels = (
        torch.from_numpy(read_idx(FOLDER / f"{part}-{content}-ubyte.gz"))
        for part in ("train", "t10k")
        for content in ("images-idx3", "labels-idx1")
    )
    return Dataset(
        "fashion",
        images.unsqueeze(1),
        127.5,
        127.5,
        labels=labels.long(),
        classes=CLASSES,
        held_out=held_out.unsqueeze(1),
        held_out_labels=held_out_labels.long(),
    )
