"""Inception from a file: keys and shapes as published, and what is refused. The published weights are not at hand."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gpgan.metrics.features import inception
from gpgan.metrics.features.inception import Inception, InceptionFeatures
from gpgan.metrics.features.pictures import fold

# What is known of pt_inception-2015-12-05-6726825d.pth.
ENTRIES, BYTES = 566, 95_628_359
# The parameters of torchvision's inception_v3 without its auxiliary classifier, and with 8 more classes.
PARAMETERS = 27_161_264 - 3_326_696 + 8 * 2049


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = Inception().eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as if trained: activations neither vanish nor are all alike
            module.running_var.uniform_(0.1, 0.3)
            module.running_mean.normal_(0, 0.1)
            module.bias.normal_(0, 0.2)
    return network


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    """A file like the published one."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def test_keys_and_shapes_are_those_of_the_published_file(network):
    """The convolutions of torchvision's inception_v3, each with a normalisation, and 1008 classes."""
    state = network.state_dict()
    expected = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for line in (Path(__file__).parent / "inception_convolutions.txt").read_text("utf-8").splitlines():
        name, *sizes = line.split()
        expected[f"{name}.conv.weight"] = tuple(map(int, sizes))
        for entry in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{name}.bn.{entry}"] = (int(sizes[0]),)
        expected[f"{name}.bn.num_batches_tracked"] = ()
    assert {key: tuple(value.shape) for key, value in state.items()} == expected
    assert len(state) == ENTRIES
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS
    size = sum(value.numel() * value.element_size() for value in state.values())
    assert 0 < BYTES - size < 2e-3 * BYTES  # the rest is names


def test_sides_of_the_feature_maps(network):
    sides = {}
    handles = [
        module.register_forward_hook(lambda module, _, out, name=name: sides.update({name: out.shape[1:]}))
        for name, module in network.named_children()
    ]
    features = network(torch.rand(1, 3, 299, 299) * 2 - 1)
    for handle in handles:
        handle.remove()
    assert features.shape == (1, 2048)
    expected = {"Conv2d_1a_3x3": (32, 149), "Conv2d_2b_3x3": (64, 147), "Conv2d_4a_3x3": (192, 71)}
    expected |= {"Mixed_5d": (288, 35), "Mixed_6a": (768, 17), "Mixed_6e": (768, 17)}
    expected |= {"Mixed_7a": (1280, 8), "Mixed_7c": (2048, 8)}
    assert {name: tuple(sides[name]) for name in expected} == {name: (c, s, s) for name, (c, s) in expected.items()}


@pytest.mark.parametrize(("name", "inputs"), [("Mixed_5b", 192), ("Mixed_6c", 768), ("Mixed_7b", 1280)])
def test_means_at_the_border_are_over_pixels_within_the_image(network, name, inputs):
    block = getattr(network, name)
    x = torch.rand(1, inputs, 8, 8)
    means = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1) / F.avg_pool2d(F.pad(torch.ones_like(x), (1, 1, 1, 1)), 3, 1)
    pooled = block.branch_pool(means)
    assert torch.allclose(block(x)[:, -pooled.shape[1] :], pooled, atol=1e-5)


def test_the_last_block_pools_by_the_maximum(network):
    x = torch.rand(1, 2048, 8, 8)
    expected = network.Mixed_7c.branch_pool(F.max_pool2d(x, 3, 1, 1))
    assert torch.allclose(network.Mixed_7c(x)[:, -192:], expected, atol=1e-5)


def test_features_from_a_file(network, weights):
    """Folded and resized they are those of the plain network; the classes are its softmax; the batch does not matter."""
    features = InceptionFeatures((3, 32, 32), weights)
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    found = features.features(images)
    levels = ((images + 1) * 127.5).round() / 127.5 - 1
    plain = network(F.interpolate(levels, (299, 299), mode="bilinear", align_corners=False))
    scale = float(plain.abs().max())
    assert float(plain.std(0).max()) > 1e-3 * scale
    assert torch.allclose(found, plain, atol=1e-4 * scale)
    assert torch.allclose(features.features(images[:1]), found[:1], atol=1e-5 * scale)
    assert torch.allclose(features.probabilities(found), network.fc(plain).softmax(1), atol=1e-4)
    assert len(features.classes) == 1008


def test_another_file_of_this_shape_is_told_apart(weights, monkeypatch):
    known = InceptionFeatures((1, 28, 28), weights)
    assert known.notes[0] == "grey images are expanded to three channels"
    assert "do not compare with published values of FID" in known.notes[1]
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(weights.read_bytes()).hexdigest())
    assert InceptionFeatures((3, 28, 28), weights).notes == []
    assert known.identity == InceptionFeatures((3, 28, 28), weights).identity


class Code:
    """A pickle that would run a command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def other_file(damage, weights, folder):
    path = folder / "other.pth"
    state = torch.load(weights, weights_only=True)
    if damage == "torchvision":
        state |= {
            "fc.weight": torch.zeros(1000, 2048),
            "fc.bias": torch.zeros(1000),
            "AuxLogits.fc.bias": torch.zeros(1000),
        }
        torch.save(state, path)
    elif damage == "key":
        del state["Mixed_6b.branch7x7dbl_3.conv.weight"]
        torch.save(state, path)
    elif damage == "NaN":
        state["fc.bias"][3] = float("nan")
        torch.save(state, path)
    elif damage == "not weights":
        torch.save([1, 2], path)
    elif damage == "truncated":
        path.write_bytes(weights.read_bytes()[:1_000_000])
    elif damage == "code":
        torch.save(Code(folder / "ran"), path)
    elif damage == "plain pickle":
        path.write_bytes(pickle.dumps(Code(folder / "ran")))
    elif damage == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("torchvision", r"its fc.weight has shape \(1000, 2048\), not \(1008, 2048\)|it has AuxLogits"),
        ("key", r"it has no Mixed_6b\.branch7x7dbl_3\.conv\.weight"),
        ("NaN", r"its fc\.bias has values that are not finite"),
        ("not weights", "it holds a list, not weights by name"),
        ("truncated", "it is damaged, or holds more than weights"),
        ("code", "it is damaged, or holds more than weights"),
        ("plain pickle", "it is damaged, or holds more than weights"),
        ("missing", "No such file"),
        ("folder", "Is a directory"),
    ],
)
def test_other_files_are_refused_in_one_line(weights, tmp_path, damage, says):
    path = other_file(damage, weights, tmp_path)
    with pytest.raises(
        ValueError, match=rf"other\.pth cannot be used \(.*({says}).*\); expected pt_inception"
    ) as error:
        InceptionFeatures((3, 32, 32), path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_the_file_must_be_named():
    with pytest.raises(ValueError, match="whose weights no package has; expected --inception-weights FILE"):
        InceptionFeatures((3, 32, 32), None)


def test_other_samples_are_refused(weights):
    with pytest.raises(ValueError, match=r"'inception' and samples have shape \(2,\); expected images"):
        InceptionFeatures((2,), weights)


def test_folding_leaves_no_normalisation(weights):
    network = Inception()
    fold(network.eval())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
