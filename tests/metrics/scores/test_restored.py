"""PSNR, SSIM and detail as metrics: of clipped images, against their truths, with what they refuse."""

import math

import pytest
import torch
from feature_sets import evaluation, normals

from gpgan.metrics.registry import METRICS
from gpgan.metrics.restoration import detail, psnr, ssim

RESTORED = ("psnr", "ssim", "detail")


def truths():
    return normals(3, 16 * 16).view(3, 1, 16, 16).clamp(-1, 1)


def measured(name, images, truth):
    return METRICS[name].measure(evaluation(images, truth, truths=truth)).value


def test_each_is_its_mean_over_images():
    truth = truths()
    images = truth * 0.9
    exact = images.double(), truth.double()
    assert measured("psnr", images, truth) == pytest.approx(float(psnr(*exact).mean()), rel=1e-9)
    assert measured("ssim", images, truth) == pytest.approx(float(ssim(*exact).mean()), rel=1e-9)
    assert measured("detail", images, truth) == pytest.approx(detail(*exact), rel=1e-9)
    assert measured("detail", images, truth) == pytest.approx(0.81, rel=1e-5)


def test_a_known_error():
    """0.2 everywhere: 10 log10(4 / 0.04) dB."""
    truth = torch.zeros(2, 3, 12, 12)
    assert measured("psnr", truth + 0.2, truth) == pytest.approx(20, rel=1e-5)


def test_equal_images():
    truth = truths()
    assert measured("psnr", truth, truth) == 100  # infinite, of which there would be no mean
    assert measured("ssim", truth, truth) == pytest.approx(1)
    assert measured("detail", truth, truth) == 1
    assert math.isnan(measured("detail", truth, truth * 0))


def test_values_out_of_range_are_clipped_as_image_files_do():
    truth = torch.ones(1, 1, 12, 12)
    assert [measured(name, truth * 7, truth) for name in ("psnr", "ssim")] == [100, pytest.approx(1)]


@pytest.mark.parametrize("name", RESTORED)
def test_samples_without_a_truth(name):
    for truth in (None, torch.zeros(3, 5)):
        refused = METRICS[name].refuses(evaluation(truths(), truths(), truths=truth))
        assert refused == "samples have no ground truth; expected a run that restores images, such as superresolve"
    assert METRICS[name].refuses(evaluation(truths(), truths(), truths=truths())) == ""
    assert not METRICS[name].floored
