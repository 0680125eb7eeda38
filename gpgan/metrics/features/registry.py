"""The feature networks by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpgan.data.dataset import Dataset
from gpgan.metrics.features import lite0, silero
from gpgan.metrics.features.classifier import SHAPES, Classifier
from gpgan.metrics.features.files import package_file
from gpgan.metrics.features.inception import InceptionFeatures
from gpgan.metrics.features.lite0 import Lite0
from gpgan.metrics.features.network import FeatureNetwork
from gpgan.metrics.features.own import Own
from gpgan.metrics.features.raw import Raw
from gpgan.metrics.features.silero import Silero
from gpgan.util.nearest import nearest

NAMES = ("lite0", *SHAPES, "speech", "inception", "raw")
# By name: the package with the weights, and its file.
PACKAGES = {"lite0": (lite0.PACKAGE, lite0.FILE), "speech": (silero.PACKAGE, silero.FILE)}


def open_network(
    name: str, *, shape: Sequence[int], device: str = "cpu", inception_weights: Path | None = None
) -> FeatureNetwork:
    """A feature network.

    Args:
        name: In NAMES, or module:attribute of the user's own.
        shape: Of one sample.
        device: Where it runs.
        inception_weights: The file for "inception".

    Raises:
        ValueError: There is no such network, it does not take such samples, or its weights cannot be used.
        ModuleNotFoundError: The package with its weights is not installed.
    """
    if inception_weights is not None and name != "inception":
        raise ValueError(f"inception_weights is given and features is {name!r}; expected --features inception")
    if name == "lite0":
        return Lite0(shape, device)
    if name in SHAPES:
        return Classifier(name, shape, device)
    if name == "speech":
        return Silero(shape, device)
    if name == "inception":
        return InceptionFeatures(shape, inception_weights, device)
    if ":" in name:
        return Own(name, shape, device)
    if name == "raw":
        return Raw(shape)
    raise ValueError(f"features is {name!r}; expected {', '.join(NAMES)} or module:attribute{nearest(name, NAMES)}")


def default_name(dataset: Dataset) -> str:
    """The features that a data set's samples are compared by: lite0 for images, and for digits, whose 8 x 8 pixels are too few
    for it, their classifier; else the samples themselves."""
    if dataset.kind.name != "images" or dataset.shape[0] not in (1, 3):
        return "raw"
    return "digits" if dataset.name == "digits" and dataset.shape == SHAPES["digits"] else "lite0"


def classifier_name(dataset: Dataset) -> str:
    """The classifier of a data set; "" if it has none of its own."""
    return next((name for name, shape in SHAPES.items() if dataset.name == name and dataset.shape == shape), "")


def is_available(name: str) -> bool:
    """Whether a network's weights are installed; those of inception never are."""
    if name not in PACKAGES:
        return name != "inception"
    path = package_file(*PACKAGES[name])
    return path is not None and path.is_file()
