"""Trains the classifiers of gpgan/metrics/features/weights: ``python -m benchmarks.train_classifiers``.

Seeded and on one thread; the weights depend on the torch version in their last bits. The accuracy is that on held-out
images, which no epoch and no setting was chosen by.
"""

from __future__ import annotations

import json
import math

import torch
import torch.nn.functional as F
from safetensors.torch import save

from gpgan.data import load, split
from gpgan.metrics.features.classifier import CHANNELS, WEIGHTS, Network

EPOCHS = {"fashion": 8, "digits": 60}
BATCH, RATE, DECAY = 128, 2e-3, 1e-2


def train(name: str) -> tuple[Network, float]:
    """The trained network, and its share of right answers on held-out images."""
    torch.manual_seed(0)
    dataset = split(load(name))
    assert dataset.labels is not None
    assert dataset.held_out is not None
    assert dataset.held_out_labels is not None
    network = Network(name)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS[name] * (len(dataset) // BATCH)
    step = 0
    for _ in range(EPOCHS[name]):
        for rows in torch.split(torch.randperm(len(dataset)), BATCH):
            if len(rows) < BATCH:
                continue
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
            images, labels = dataset.samples(rows), dataset.labels[rows]
            if name == "fashion":  # mirrored half of the time; a mirrored digit is no digit
                mirrored = torch.rand(len(images)) < 0.5
                images[mirrored] = images[mirrored].flip(3)
            optimizer.zero_grad()
            F.cross_entropy(network.head(network(images)), labels).backward()
            optimizer.step()
            step += 1
    with torch.no_grad():
        # Features of mean square 1: larger ones would make KD's kernel that of the largest alone.
        size = network(dataset.samples()).square().mean().sqrt()
        last = network.body[-2]
        last.weight /= size
        last.bias /= size
        network.head.weight *= size
        answers = network.head(network(dataset.scaled(dataset.held_out))).argmax(1)
    return network, float((answers == dataset.held_out_labels).double().mean())


def main() -> None:
    torch.set_num_threads(1)
    WEIGHTS.mkdir(exist_ok=True)
    for name in CHANNELS:
        network, accuracy = train(name)
        facts = {"accuracy": accuracy, "classes": load(name).classes, "torch": torch.__version__, "seed": 0}
        (WEIGHTS / f"{name}.safetensors").write_bytes(save(network.state_dict(), {"gpgan": json.dumps(facts)}))
        count = sum(parameter.numel() for parameter in network.parameters())
        print(f"{name}: {100 * accuracy:.2f} % of held-out images right, {count} parameters")  # noqa: T201


if __name__ == "__main__":
    main()
