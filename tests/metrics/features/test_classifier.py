"""The classifiers that are part of gpgan."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open

from gpgan.data import load, split
from gpgan.metrics.features.classifier import WEIGHTS, Classifier


def facts(name):
    with safe_open(WEIGHTS / f"{name}.safetensors", "pt") as file:
        return json.loads(file.metadata()["gpgan"])


@pytest.mark.parametrize("name", ["fashion", "digits"])
def test_the_accuracy_is_the_one_written_down(name):
    """On held-out images, from the committed weights; another processor may differ in a close call or two."""
    dataset = split(load(name))
    network = Classifier(name, dataset.shape)
    features = torch.cat([network.features(dataset.scaled(part)) for part in dataset.held_out.split(250)])
    answers = network.probabilities(features).argmax(1)
    accuracy = float((answers == dataset.held_out_labels).double().mean())
    assert accuracy == pytest.approx(facts(name)["accuracy"], abs=2.5 / len(answers))
    assert accuracy > {"fashion": 0.89, "digits": 0.96}[name]
    assert f"{100 * facts(name)['accuracy']:.1f} % right" in network.about
    assert list(network.classes) == list(facts(name)["classes"]) == list(dataset.classes)


def test_the_identity_is_the_hash_of_the_file():
    content = (WEIGHTS / "digits.safetensors").read_bytes()
    assert Classifier("digits", (1, 8, 8)).identity == hashlib.sha256(content).hexdigest()
    assert Classifier("fashion", (1, 28, 28)).identity != Classifier("digits", (1, 8, 8)).identity


def test_features_do_not_depend_on_the_batch():
    network = Classifier("fashion", (1, 28, 28))
    images = torch.rand(7, 1, 28, 28) * 2 - 1
    whole = network.features(images)
    assert whole.shape == (7, 64)
    assert torch.allclose(torch.cat([network.features(part) for part in images.split((1, 6))]), whole, atol=1e-5)


def test_images_are_clipped_and_rounded_to_256_levels():
    """Complaint: floats scored otherwise than the same images in a file, as they were cut to bytes."""
    network = Classifier("digits", (1, 8, 8))
    images = torch.rand(2, 1, 8, 8) * 2 - 1
    assert torch.equal(network.features(images * 2), network.features((images * 2).clamp(-1, 1)))
    rounded = ((images + 1) * 127.5).round() / 127.5 - 1
    assert torch.allclose(network.features(rounded), network.features(images), atol=1e-6)


@pytest.mark.parametrize(("name", "shape"), [("fashion", (1, 32, 32)), ("fashion", (3, 28, 28)), ("digits", (64,))])
def test_other_samples_are_refused(name, shape):
    with pytest.raises(
        ValueError, match=rf"features is '{name}' and samples have shape .*; expected \(1, .* data {name}"
    ):
        Classifier(name, shape)
