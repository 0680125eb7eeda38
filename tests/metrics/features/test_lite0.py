"""EfficientNet-lite0: its weights, what it says of photographs, and how images are prepared."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from gpgan.metrics.features import files, lite0
from gpgan.metrics.features.lite0 import FILE, PACKAGE, EfficientNetLite0, Lite0, load_lite0, side_for
from gpgan.metrics.features.pictures import fold, parts, resized

# Classes of ImageNet.
PALACE, DAISY = 698, 985


@pytest.fixture(scope="module")
def path():
    found = files.package_file(PACKAGE, FILE)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def network():
    return Lite0((3, 64, 64))


def photographs():
    """scikit-learn's china.jpg and flower.jpg, from -1 to 1, their middle square."""
    return [
        torch.from_numpy(np.array(image)[:, 106:533]).permute(2, 0, 1)[None] / 127.5 - 1
        for image in load_sample_images().images
    ]


def test_the_file_fits_key_by_key(path):
    """Also the counts of batches: 49 normalisations with five entries each, 49 convolutions, and the last layer's two."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    own = EfficientNetLite0().state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in own.items()}
    assert hashlib.sha256(path.read_bytes()).hexdigest() == lite0.SHA256


def test_folding_changes_nothing(path):
    plain, folded = load_lite0(path), load_lite0(path)
    fold(folded)
    images = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        features = plain(images)
        assert torch.allclose(folded(images), features, atol=1e-4 * float(features.max()))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def test_padding_is_that_of_tensorflow():
    """More at the end: with a stride of 2 an even side is padded by (0, 1) for kernel 3, and an odd one by (1, 1)."""
    for side, pads in ((6, (0, 1)), (7, (1, 1))):
        conv = lite0._Conv(1, 1, 3, 2)
        image = torch.rand(1, 1, side, side)
        padded = torch.nn.functional.pad(image, pads * 2)
        assert torch.allclose(conv(image), torch.nn.functional.conv2d(padded, conv.weight, stride=2), atol=1e-6)


def test_what_it_sees_on_photographs(path):
    """The roof of a Chinese palace, and a flower like a daisy: more surely with (255 x - 127) / 128, as the network was
    trained, than with the mean and deviation of ImageNet."""
    network = Lite0((3, 427, 427))
    plain = load_lite0(path)
    mean, deviation = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for photo, label in zip(photographs(), (PALACE, DAISY), strict=True):
        right = network.probabilities(network.features(photo))[0]
        assert int(right.argmax()) == label
        with torch.no_grad():
            features = plain((resized(photo, 224, "bicubic") / 2 + 0.5 - mean) / deviation)
        assert right[label] > network.probabilities(features)[0, label]


def test_images_are_scaled_as_in_training(path):
    """(255 x - 127) / 128 for x from 0 to 1."""
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    x = resized(images, 64, "bicubic") / 2 + 0.5
    with torch.no_grad():
        expected = load_lite0(path)((255 * x - 127) / 128)
    assert torch.allclose(Lite0((3, 32, 32)).features(images), expected, atol=1e-4 * float(expected.max()))


def test_images_are_resized_with_antialiasing():
    """Complaint: no antialiasing. Every third column lit, from 84 to 28 pixels: a third of the light, where plain sampling sees none or all of it."""
    image = torch.full((1, 1, 84, 84), -1.0)
    image[..., ::3] = 1
    for mode in ("bicubic", "bilinear"):
        small = (resized(image, 28, mode) + 1) / 2
        assert float(small.mean()) == pytest.approx(1 / 3, abs=0.01)
    aliased = torch.nn.functional.interpolate((image + 1) / 2, (28, 28), mode="bilinear", align_corners=False)
    assert abs(float(aliased.mean()) - 1 / 3) > 0.3


def test_images_are_clipped_and_rounded_to_256_levels():
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    levels = ((image + 1) * 127.5).round() / 127.5 - 1
    assert torch.allclose(resized(image, 64, "bicubic"), levels, atol=1e-6)
    assert resized(image * 3, 64, "bicubic").abs().max() == 1
    small = image[..., :32, :32] * 3
    assert torch.equal(resized(small, 64, "bicubic"), resized(small.clamp(-1, 1), 64, "bicubic"))
    sharp = torch.where(torch.rand(1, 1, 32, 32) < 0.5, -1.0, 1.0)
    assert resized(sharp, 64, "bicubic").abs().max() <= 1  # bicubic interpolation overshoots


@pytest.mark.parametrize("counts", [(1,) * 6, (2, 4), (5, 1)])
def test_features_do_not_depend_on_the_batch(network, counts):
    """Complaint: results that depend on the batch size."""
    images = torch.rand(6, 3, 64, 64) * 2 - 1
    whole = network.features(images)
    parts = torch.cat([network.features(part) for part in images.split(counts)])
    assert whole.shape == (6, 1280)
    assert whole.dtype == torch.float32
    assert torch.allclose(parts, whole, atol=1e-5 * float(whole.max()))


def test_few_pixels_go_through_at_once_on_a_cpu():
    """As many as fit into its cache; a GPU takes all."""
    images = torch.zeros(40, 1, 8, 8)
    assert [len(part) for part in parts(images, 64, "cpu")] == [16, 16, 8]
    assert [len(part) for part in parts(images[:5], 224, "cpu")] == [2, 2, 1]
    assert [len(part) for part in parts(images, 64, "cuda:0")] == [40]


def test_grey_images_become_three_equal_channels_and_it_says_so():
    """Complaint: grey images refused or misread."""
    grey = torch.rand(2, 1, 28, 28) * 2 - 1
    network = Lite0((1, 28, 28))
    assert network.notes == ["grey images are expanded to three channels"]
    colour = Lite0((3, 28, 28))
    assert colour.notes == []
    assert torch.equal(network.features(grey), colour.features(grey.expand(-1, 3, -1, -1)))


def test_the_side_depends_on_the_images_alone():
    assert [side_for((3, side, 10)) for side in (8, 32, 33, 64, 65, 500)] == [64, 64, 128, 128, 224, 224]
    assert Lite0((3, 32, 32)).identity != Lite0((3, 64, 64)).identity
    assert Lite0((3, 32, 32)).identity == Lite0((1, 28, 28)).identity


@pytest.mark.parametrize("shape", [(2,), (2, 8, 8), (4, 8, 8), (1, 16, 16, 16)])
def test_other_samples_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"'lite0' and samples have shape .*; expected images \[C, H, W\].*features raw"
    ):
        Lite0(shape)


@pytest.mark.parametrize("damage", ["missing", "truncated", "one bit", "text"])
def test_another_file_is_refused(path, tmp_path, damage):
    content = path.read_bytes()
    other = tmp_path / "other.pth"
    if damage == "truncated":
        other.write_bytes(content[:100_000])
    elif damage == "one bit":
        other.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "text":
        other.write_text("no weights", "utf-8")
    with pytest.raises(
        ValueError, match=r"other\.pth cannot be used \(.*\); expected the weights of the package"
    ) as error:
        load_lite0(other)
    assert "\n" not in str(error.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=f"'lite0', which needs the package {PACKAGE}.*pip install") as error:
        Lite0((1, 28, 28))
    assert error.value.name == PACKAGE
