"""Degradations of images."""

import pytest
import torch

from gpgan.data.degrade import downscale, upscale


def test_downscale_by_hand():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert downscale(image, 2).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert downscale(image, 4).item() == 7.5


def test_stripes_that_are_too_narrow_become_grey():
    stripes = (torch.arange(12) % 2 * 2.0 - 1).expand(1, 1, 12, 12)
    assert (downscale(stripes, 2) == 0).all()


def test_upscale_keeps_flat_images_and_ramps():
    assert torch.allclose(upscale(torch.full((1, 3, 5, 5), 0.3), 3), torch.full((1, 3, 15, 15), 0.3))
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    steps = upscale(ramp, 2)[0, 0, 8].diff()
    assert torch.allclose(steps[5:-5] + steps[6:-4], torch.ones(5))  # one per pixel of the small image


def test_a_factor_that_does_not_divide():
    with pytest.raises(ValueError, match="10 x 9 pixels and factor is 2; expected a factor that divides both sides"):
        downscale(torch.zeros(1, 1, 10, 9), 2)
