"""Likelihoods of poses, steps uphill, and averages."""

from __future__ import annotations

import pytest
import torch

from gpgan.wedge.averaging import Average, ball
from gpgan.wedge.ctf import CTF
from gpgan.wedge.mask import Wedge
from gpgan.wedge.matching import Matcher, climb, generators, turns
from gpgan.wedge.observe import Observation
from gpgan.wedge.operators import rotate, transform
from gpgan.wedge.rotations import angle_between, near, random_rotations

BOXES = [(16, 16, 16), (24, 24)]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(shape: tuple[int, ...], seed: int = 0, count: int = 12) -> torch.Tensor:
    """A smooth volume within the ball."""
    places = torch.stack(torch.meshgrid(*(torch.arange(size) - (size - 1) / 2 for size in shape), indexing="ij"))
    centres = torch.randn(count, len(shape), generator=rng(seed))
    centres = centres / centres.norm(dim=1, keepdim=True) * shape[0] * 0.25
    ends = centres.reshape(count, len(shape), *([1] * len(shape)))
    return torch.exp(-(places - ends).square().sum(1) / 4).sum(0)


@pytest.mark.parametrize("shape", BOXES)
def test_a_score_is_a_log_likelihood(shape: tuple[int, ...]):
    """Against the definition in voxels: -|y - T x|^2 / 2 s^2, up to a constant of y."""
    s, wedge = 0.6, Wedge(-50, 50)
    observation = Observation(wedge).filter(shape)
    numbers = torch.Size(shape).numel()
    matcher = Matcher(observation.transfer, torch.full(observation.transfer.shape, s**2 * numbers).double(), shape, 1.0)
    x, clean = torch.randn(4, *shape, generator=rng()), torch.randn(3, *shape, generator=rng(1))
    x, clean = x - x.flatten(1).mean(1).reshape(-1, *[1] * len(shape)), observation(clean)
    clean = clean - clean.flatten(1).mean(1).reshape(-1, *[1] * len(shape))
    scores = matcher.scores(matcher.observed(clean), matcher.explained(x))
    squares = (clean[:, None] - observation(x)[None]).square().flatten(2).sum(2) / (2 * s**2)
    constant = clean.square().flatten(1).sum(1) / (2 * s**2)
    torch.testing.assert_close(scores, constant[:, None] - squares, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("shape", BOXES)
def test_generators_are_derivatives_of_turns(shape: tuple[int, ...]):
    """Against differences of a finely drawn volume; interpolation blurs, so that only the direction is compared."""
    volume = blobs(shape)
    slopes = generators(volume[None])[0, 1:]
    axes = len(slopes)
    assert axes == (3 if len(shape) == 3 else 1)
    for axis in range(axes):
        ways = torch.zeros(2, axes, dtype=torch.float64)
        ways[:, axis] = torch.tensor([0.15, -0.15])
        ahead, behind = rotate(volume[None, None], turns(ways))[:, 0]
        difference = (ahead - behind) / 0.3
        agreement = float((difference * slopes[axis]).sum() / (difference.norm() * slopes[axis].norm()))
        assert agreement > 0.97
        assert float(slopes[axis].norm() / difference.norm()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("shape", BOXES)
def test_steps_uphill_find_the_pose(shape: tuple[int, ...]):
    """From 10 degrees away to within 2, and the likelihood never falls."""
    volume, wedge = blobs(shape), Wedge()
    observation = Observation(wedge).filter(shape)
    true = random_rotations(8, len(shape), rng(2))
    noise = 0.02 * torch.randn(8, *shape, generator=rng(3))
    seen = observation(rotate(volume[None, None], true)[:, 0] + noise)
    variance = torch.full(observation.transfer.shape, 0.02**2 * volume.numel()).double()
    matcher = Matcher(observation.transfer, variance, shape, 0.4)
    observed = matcher.observed(seen)
    sloped = generators(volume[None]).expand(8, *generators(volume[None]).shape[1:])
    found, before = near(true, 0.1, rng(4)), torch.full((8,), -torch.inf)
    for _ in range(6):
        summit = climb(matcher, sloped, observed, found)
        assert bool((summit.scores >= before - 1e-2).all())
        found, before = summit.rotations, summit.scores
    assert float(angle_between(found, true).rad2deg().max()) < 2
    assert bool((torch.linalg.eigvalsh(summit.precision) > 0).all())


@pytest.mark.parametrize("ctf", [None, CTF(2.5)])
def test_an_average_of_turned_observations_is_the_volume(ctf: CTF | None):
    """Many poses fill the wedge: the minimum of the least-squares problem is the volume, where it has power."""
    shape, voxel = (16, 16, 16), 8.0
    volume, wedge = blobs(shape), Wedge()
    observation = Observation(wedge, ctf, voxel).filter(shape)
    poses = random_rotations(200, 3, rng(5))
    seen = observation(rotate(volume[None, None], poses)[:, 0])
    variance = torch.ones(observation.transfer.shape, dtype=torch.float64)
    average = Average(wedge, None if ctf is None else ctf.transfer(shape, voxel), variance, shape, 2)
    classes = torch.ones(200, dtype=torch.int64)
    average.add(1.0, seen, torch.ones(200), poses, classes)
    made = average.volumes(0.1)
    assert not bool(made[0].any())
    inside = ball(shape, 1.0) * volume
    assert float((made[1] * inside).sum() / (made[1].norm() * inside.norm())) > 0.97
    # As often as the share of measured directions says, wherever it is counted.
    often = average.denominator[1] if ctf is None else torch.tensor(200 * 0.665)
    assert float(often[average.inside].mean() if ctf is None else often) == pytest.approx(200 * 0.665, rel=0.05)


def test_an_average_forgets_by_its_share():
    shape = (8, 8, 8)
    average = Average(Wedge(), None, torch.ones(8, 8, 5, dtype=torch.float64), shape, 1)
    one, turn = torch.randn(1, *shape, generator=rng()), torch.eye(3, dtype=torch.float64)[None]
    zero = torch.zeros(1, dtype=torch.int64)
    average.add(1.0, one, torch.ones(1), turn, zero)
    first = average.numerator.clone()
    average.add(0.25, 0 * one, torch.ones(1), turn, zero)
    torch.testing.assert_close(average.numerator, 0.75 * first)
    torch.testing.assert_close(transform(one)[0], first[0])


@pytest.mark.parametrize("shape", BOXES)
def test_a_ball_has_its_size(shape: tuple[int, ...]):
    inside = ball(shape, 1.0)
    assert inside.flatten()[0] == 0
    middle = tuple(size // 2 for size in shape)
    assert inside[middle] == 1
    assert ball(shape, 0.5).sum() < inside.sum() / 2
