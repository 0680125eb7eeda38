"""Feature networks by name."""

import pytest
import torch

from gpgan.data import Dataset, load
from gpgan.metrics.features import registry
from gpgan.metrics.features.raw import Raw
from gpgan.metrics.features.registry import NAMES, classifier_name, default_name, is_available, open_network

SHAPES = {"fashion": (1, 28, 28), "digits": (1, 8, 8), "lite0": (3, 16, 16), "speech": (1, 1000), "raw": (2, 3)}


@pytest.mark.parametrize("name", SHAPES)
def test_every_network_keeps_the_protocol(name):
    network = open_network(name, shape=SHAPES[name])
    samples = torch.rand(3, *SHAPES[name]) * 2 - 1
    features = network.features(samples)
    assert network.name == name
    assert (features.shape, features.dtype) == ((3, network.dimension), torch.float32)
    assert network.about
    assert network.identity
    if network.classes:
        probabilities = network.probabilities(features)
        assert probabilities.shape == (3, len(network.classes))
        assert torch.allclose(probabilities.sum(1), torch.ones(3), atol=1e-5)


def test_identities_differ():
    identities = {open_network(name, shape=shape).identity for name, shape in SHAPES.items()}
    assert len(identities) == len(SHAPES)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lite", r"did you mean lite0\?"),
        ("incepton", r"did you mean inception\?"),
        ("Speech", r"did you mean speech\?"),
        ("clip", r"expected lite0, fashion, digits, speech, inception, raw or module:attribute$"),
    ],
)
def test_unknown_names(name, says):
    with pytest.raises(ValueError, match=says):
        open_network(name, shape=(3, 8, 8))


def test_inception_weights_are_for_inception_alone(tmp_path):
    with pytest.raises(
        ValueError, match="inception_weights is given and features is 'lite0'; expected --features incept"
    ):
        open_network("lite0", shape=(3, 8, 8), inception_weights=tmp_path)


def test_what_is_available(monkeypatch):
    assert {name for name in NAMES if is_available(name)} == set(NAMES) - {"inception"}
    monkeypatch.setattr(registry, "package_file", lambda package, file: None)
    assert {name for name in NAMES if is_available(name)} == {"fashion", "digits", "raw"}


def test_a_package_without_its_file_is_not_available(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "package_file", lambda package, file: tmp_path / file)
    assert not is_available("lite0")


def test_defaults():
    assert default_name(load("digits")) == "digits"
    assert classifier_name(load("digits")) == "digits"
    assert default_name(load("ring")) == "raw"
    photos = Dataset("photos", torch.zeros(4, 3, 16, 16, dtype=torch.uint8))
    assert (default_name(photos), classifier_name(photos)) == ("lite0", "")
    assert default_name(Dataset("spectra", torch.zeros(4, 5, 16, 16, dtype=torch.uint8))) == "raw"


def test_raw_features_are_the_samples():
    samples = torch.arange(12, dtype=torch.float64).reshape(2, 2, 3)
    network = Raw((2, 3))
    assert network.dimension == 6
    assert torch.equal(network.features(samples), samples.float().flatten(1))
    assert network.identity != Raw((3, 2)).identity
