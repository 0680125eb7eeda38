"""The Vendi score of sets whose number of different samples is known."""

import math

import pytest
import torch
from feature_sets import evaluation, normals

from gpgan.metrics.scores.vendi import METRIC, vendi


def test_groups_of_equal_samples():
    groups = torch.linalg.qr(normals(20, 20)).Q[:7]
    assert vendi(groups.repeat(30, 1)) == pytest.approx(7, rel=1e-5)
    assert vendi(groups) == pytest.approx(7, rel=1e-5)
    # Lengths do not matter.
    assert vendi(groups.repeat(30, 1) * torch.linspace(0.1, 9, 210)[:, None]) == pytest.approx(7, rel=1e-5)


def test_groups_of_different_sizes():
    """exp of the entropy of 1/2, 1/4 and 1/4."""
    x = torch.eye(3)[torch.tensor([0, 0, 1, 2])]
    assert vendi(x) == pytest.approx(2**1.5, rel=1e-12)


def test_two_samples_at_an_angle():
    """The eigenvalues are (1 + c) / 2 and (1 - c) / 2 for a cosine c."""
    c = 0.6
    p, q = (1 + c) / 2, (1 - c) / 2
    expected = math.exp(-p * math.log(p) - q * math.log(q))
    assert vendi(torch.tensor([[1.0, 0.0], [0.6, 0.8]])) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(12, 30), (30, 12)])
def test_the_matrix_of_all_pairs(n, d):
    x = normals(n, d).double()
    x = x / x.norm(dim=1, keepdim=True)
    shares = torch.linalg.eigvalsh(x @ x.T / n).clamp(min=1e-300)
    assert vendi(x) == pytest.approx(float((-shares * shares.log()).sum().exp()), rel=1e-10)
    assert METRIC.measure(evaluation(x.float(), x.float())).value == pytest.approx(vendi(x), rel=1e-5)


def test_constant_features_are_one_sample():
    assert vendi(torch.full((50, 9), 3.0)) == pytest.approx(1)
    assert vendi(torch.ones(1, 1)) == pytest.approx(1)
