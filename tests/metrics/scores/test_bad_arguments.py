"""Sets that have no score: each public function names the argument, what came and what was expected."""

import functools
import math

import pytest
import torch
from feature_sets import normals, one_hot

from gpgan.metrics.scores.class_kl import class_kl
from gpgan.metrics.scores.classifier_score import classifier_score
from gpgan.metrics.scores.copied_share import copied_share
from gpgan.metrics.scores.fd import frechet_distance
from gpgan.metrics.scores.fd_infinity import frechet_distance_infinity
from gpgan.metrics.scores.kd import kernel_distance
from gpgan.metrics.scores.max_sliced_w import max_sliced_wasserstein
from gpgan.metrics.scores.mmd import gaussian_mmd
from gpgan.metrics.scores.modes import stacked_modes
from gpgan.metrics.scores.neighbourhoods import neighbourhoods
from gpgan.metrics.scores.sinkhorn import sinkhorn_divergence
from gpgan.metrics.scores.sliced_w import sliced_wasserstein
from gpgan.metrics.scores.vendi import vendi
from gpgan.metrics.transport import wasserstein1, wasserstein2

GOOD = normals(120, 3)
# Each pair of sets, and the least number of samples.
PAIRS = {
    "kd": (kernel_distance, 2),
    "fd": (frechet_distance, 2),
    "fd_infinity": (lambda x, y: frechet_distance_infinity(x, y, torch.Generator()), 2),
    "mmd": (functools.partial(gaussian_mmd, bandwidth=1.0), 2),
    "neighbourhoods": (neighbourhoods, 6),
    "sinkhorn": (functools.partial(sinkhorn_divergence, blur=1.0), 1),
    "sliced_w": (lambda x, y: sliced_wasserstein(x, y, rng=torch.Generator()), 1),
    "max_sliced_w": (lambda x, y: max_sliced_wasserstein(x, y, rng=torch.Generator()), 1),
    "class_kl": (class_kl, 1),
    "copied_share": (lambda x, y: copied_share(x, GOOD, y), 1),
}


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(pair, bad):
    function, _ = pair
    broken = GOOD.clone()
    broken[7, 1] = bad
    for sets in ((broken, GOOD), (GOOD, broken)):
        with pytest.raises(
            ValueError, match=r"^(x|y|fake|real|training) holds NaN or infinite values; expected finite"
        ):
            function(*sets)


def test_shapes(pair):
    function, least = pair
    message = rf"has shape \(.*\) and \w+ \(.*\); expected \[N, d\] and \[M, d\], N and M at least {least}$"
    for bad in (normals(120, 4), GOOD[0], GOOD[None], GOOD[: least - 1], GOOD[:, :0]):
        for sets in ((bad, GOOD), (GOOD, bad)):
            with pytest.raises(ValueError, match=message):
                function(*sets)


def test_the_first_of_three_sets():
    with pytest.raises(ValueError, match=r"held_out has 99 samples; expected 100 or more, for a quantile of 0.01"):
        copied_share(GOOD, GOOD[:99], GOOD)
    with pytest.raises(ValueError, match=r"^held_out holds NaN"):
        copied_share(GOOD, GOOD * math.nan, GOOD)


def test_sets_of_different_sizes():
    for name in ("sliced_w", "max_sliced_w"):
        with pytest.raises(ValueError, match=r"^x has 119 samples and y 120; expected equally many$"):
            PAIRS[name][0](GOOD[1:], GOOD)


@pytest.mark.parametrize("function", [wasserstein1, wasserstein2])
def test_exact_transport(function):
    with pytest.raises(ValueError, match=r"x has shape \(120, 3\) and y \(120, 4\); expected"):
        function(GOOD, normals(120, 4))
    with pytest.raises(ValueError, match="y holds NaN or infinite values; expected finite"):
        function(GOOD, GOOD * math.inf)


def test_one_set():
    for function in (vendi, classifier_score):
        for bad in (GOOD[:0], GOOD[0]):
            with pytest.raises(ValueError, match=r"have shape .*; expected \[n, [dK]\] with n at least 1"):
                function(bad)
    with pytest.raises(ValueError, match="features holds NaN or infinite values"):
        vendi(GOOD * math.nan)


def test_probabilities():
    p = one_hot(0, 1, 2, count=3)
    for bad in (p * 2, p * math.nan, p[:, :2]):
        with pytest.raises(
            ValueError, match=r"probabilities have a row whose sum is .* from 1; expected rows that sum"
        ):
            classifier_score(bad)


def test_stacked_classes():
    with pytest.raises(ValueError, match=r"digits has shape \(3,\); expected \[n, k\] with n at least 1"):
        stacked_modes(torch.tensor([1, 2, 3]), 10)
    for bad in (-1, 10):
        with pytest.raises(ValueError, match=r"digits has values from .* to .*; expected 0 to 9, for classes = 10"):
            stacked_modes(torch.tensor([[0, 9, bad]]), 10)
