"""Small classifiers of fashion and digits, trained by benchmarks/train_classifiers.py; their weights are part of gpgan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from gpgan.metrics.features.pictures import as_levels

WEIGHTS = Path(__file__).with_name("weights")
FEATURES = 64
# By name: the shape of its samples, and the channels of its convolutions.
SHAPES = {"fashion": (1, 28, 28), "digits": (1, 8, 8)}
CHANNELS = {"fashion": (16, 32, 64), "digits": (16, 32)}


class Network(nn.Module):
    """Images ``[n, 1, S, S]`` to features ``[n, 64]``, and these to logits of 10 classes; no normalisation layers."""

    def __init__(self, name: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, side = 1, SHAPES[name][1]
        for outputs in CHANNELS[name]:
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels, side = outputs, side // 2
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side**2, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images)
        return features


class Classifier:
    """The feature network of the names fashion and digits: see ``FeatureNetwork``.

    Args:
        name: "fashion" or "digits".
        shape: Of one sample: that of the data of this name.
        device: Where it runs.

    Raises:
        ValueError: The samples have another shape.
    """

    dimension = FEATURES
    notes: Sequence[str] = ()

    def __init__(self, name: str, shape: Sequence[int], device: str = "cpu") -> None:
        if tuple(shape) != SHAPES[name]:
            raise ValueError(
                f"features is {name!r} and samples have shape {tuple(shape)}; expected {SHAPES[name]}, that of the data {name}"
            )
        path = WEIGHTS / f"{name}.safetensors"
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["gpgan"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
        network = Network(name)
        network.load_state_dict(state)
        self.name, self.device = name, device
        self.classes: Sequence[str] = tuple(facts["classes"])
        self._network = network.eval().requires_grad_(False).to(device)
        self.identity = hashlib.sha256(path.read_bytes()).hexdigest()
        self.about = f"classifier of {name}, {100 * facts['accuracy']:.1f} % right on its test set, {FEATURES} features"

    @torch.no_grad()
    def features(self, samples: Tensor) -> Tensor:
        features: Tensor = self._network(as_levels(samples.to(self.device)))
        return features.cpu()

    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        return torch.softmax(self._network.head(features.to(self.device)), 1).cpu()
