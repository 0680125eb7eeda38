"""PSNR, SSIM and detail against closed forms and an independent computation."""

import math

import numpy as np
import pytest
import torch

from gpgan.metrics.evaluate import evaluate
from gpgan.metrics.features.raw import Raw
from gpgan.metrics.metric import Evaluation
from gpgan.metrics.registry import METRICS
from gpgan.metrics.restoration import DETAIL, detail, psnr, ssim
from gpgan.metrics.sample_set import SampleSet


def images(count=4, channels=1, size=24, seed=0):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)).double() * 2 - 1


def test_psnr_of_a_known_error():
    truth = images()
    shifted = truth + torch.tensor([0.02, 0.2, 2.0, 0.0]).view(4, 1, 1, 1)
    # 10 log10(2^2 / e^2) = 20 log10(2 / e)
    assert psnr(shifted, truth).tolist() == pytest.approx([40.0, 20.0, 0.0, math.inf])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [24, 11, 8, 5])
def test_ssim_by_loops(channels, size):
    truth, other = images(2, channels, size), images(2, channels, size, seed=1)
    other = 0.7 * truth + 0.3 * other
    side = min(11, size - 1 + size % 2)
    line = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    c1, c2 = 0.01**2, 0.03**2  # of values from 0 to 1
    values = ssim(truth, other)
    for a, b, value in zip((truth.numpy() + 1) / 2, (other.numpy() + 1) / 2, values, strict=True):
        found = []
        for channel in range(channels):
            for top in range(size - side + 1):
                for left in range(size - side + 1):
                    x, y = (each[channel, top : top + side, left : left + side] for each in (a, b))
                    mx, my = (weights * x).sum(), (weights * y).sum()
                    vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
                    cov = (weights * (x - mx) * (y - my)).sum()
                    found.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
        assert float(value) == pytest.approx(np.mean(found), rel=1e-9)


def test_ssim_of_equal_unlike_and_opposite_images():
    truth = images()
    assert ssim(truth, truth).tolist() == pytest.approx([1.0] * 4)
    assert ssim(truth, images(seed=1)).abs().max() < 0.2
    assert ssim(truth, -truth).max() < -0.3


def test_ssim_is_not_that_of_values_around_zero():
    """Two flat images, 0.1 and 0.3 of the way from black to white: (2 a b + c) / (a^2 + b^2 + c)."""
    dark, grey = (torch.full((1, 1, 12, 12), value).double() for value in (-0.8, -0.4))
    assert float(ssim(dark, grey)) == pytest.approx((0.06 + 1e-4) / (0.1 + 1e-4))


def test_detail_of_waves():
    """A wave above the cutoff counts, with the square of its amplitude; one below does not."""
    x = torch.arange(32.0).double()
    low = torch.cos(2 * math.pi * 4 / 32 * x).expand(1, 1, 32, 32)
    high = torch.cos(2 * math.pi * 12 / 32 * x).expand(1, 1, 32, 32)
    assert 4 / 32 < DETAIL < 12 / 32
    assert detail(low + 0.5 * high, low + high) == pytest.approx(0.25)
    assert detail(2 * low + high, low + high) == pytest.approx(1.0)
    assert detail(low, low + high) == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(detail(high, low * 0))


def evaluation(truths, samples):
    made = SampleSet(samples, Raw(samples.shape[1:]))
    return Evaluation(made, made, truths=truths)


def test_the_registry_measures_what_applies():
    truth = images().float()
    restored = ("psnr", "ssim", "detail")
    results = evaluate(evaluation(truth, truth * 0.9), names=restored)
    assert list(results) == list(restored)
    assert results["psnr"].score == pytest.approx(float(psnr(truth.double() * 0.9, truth.double()).mean()), rel=1e-5)
    assert all(result.floor is None and result.n == 4 for result in results.values())
    assert not set(restored) & set(evaluate(evaluation(None, truth)))
    assert list(evaluate(evaluation(truth, truth * 0.9), names=("w1", "ssim"), strict=False)) == ["w1", "ssim"]
    assert [METRICS[name].label for name in restored] == ["PSNR, dB", "SSIM", "Detail"]
    assert all(name == metric.name for name, metric in METRICS.items())


def test_what_two_metrics_need_is_computed_once():
    calls = []
    made = evaluation(images(), images()).fake
    for _ in range(2):
        made.derived("a", lambda: calls.append(1) or torch.zeros(1))
    assert calls == [1]
    assert made.features is made.features


def test_a_metric_has_a_random_state_of_its_own():
    made = evaluation(images(), images())
    assert torch.equal(torch.rand(3, generator=made.rng()), torch.rand(3, generator=made.rng()))
