"""Gradient norms of critics whose gradient is known."""

import pytest
import torch
from torch import nn

from gpgan.metrics import GradientNorms, gradient_norms


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_linear_critic_has_one_norm():
    critic = nn.Linear(2, 1).double()
    nn.init.constant_(critic.weight, 3)
    real, fake = torch.randn(2, 7, 2, dtype=torch.float64)
    norms = gradient_norms(critic, real, fake, rng=rng())
    assert norms.mean == norms.max == pytest.approx(18**0.5)
    assert norms.std == pytest.approx(0, abs=1e-12)
    assert critic.weight.grad is None


def test_mean_std_and_max_at_points_that_are_known():
    # If real and fake are equal, so are all interpolates; the gradient of |x|^2 / 2 is x.
    x = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    norms = gradient_norms(lambda x: x.square().sum(1) / 2, x, x, rng=rng())
    assert norms == GradientNorms(pytest.approx(2), pytest.approx((14 / 3) ** 0.5), pytest.approx(5))


def test_points_lie_between_real_and_fake():
    real, fake = torch.full((500, 1), 2.0), torch.full((500, 1), 4.0)
    norms = gradient_norms(lambda x: x.square().sum(1) / 2, real, fake, rng=rng())
    assert norms.mean == pytest.approx(3, abs=0.1)
    assert norms.std == pytest.approx(2 / 12**0.5, abs=0.05)
    assert 3.9 < norms.max < 4
    assert norms == gradient_norms(lambda x: x.square().sum(1) / 2, real, fake, rng=rng())
    assert norms != gradient_norms(lambda x: x.square().sum(1) / 2, real, fake, rng=rng(1))


def test_labels_reach_the_critic():
    slopes = torch.tensor([1.0, 5.0])
    real, fake, labels = torch.randn(4, 1), torch.randn(4, 1), torch.tensor([0, 1, 0, 0])
    norms = gradient_norms(lambda x, y: slopes[y] * x.squeeze(1), real, fake, critic_args=(labels,), rng=rng())
    assert norms == GradientNorms(pytest.approx(2), pytest.approx(3**0.5), pytest.approx(5))


def test_where_gradients_are_off():
    critic = nn.Linear(2, 1).requires_grad_(False)
    with torch.no_grad():
        norms = gradient_norms(critic, torch.randn(5, 2), torch.randn(5, 2), rng=rng())
    assert norms.mean == pytest.approx(float(critic.weight.norm()), rel=1e-5)


def test_one_sample_has_no_spread():
    assert gradient_norms(nn.Linear(2, 1), torch.randn(1, 2), torch.randn(1, 2), rng=rng()).std == 0
