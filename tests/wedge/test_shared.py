"""Volumes shared by observations: fitted, continued, and the posterior of each observation."""

from __future__ import annotations

import pytest
import torch
from test_matching import blobs, rng

from gpgan.wedge.mask import Wedge
from gpgan.wedge.observe import Observation, halves, noise_spectrum
from gpgan.wedge.operators import Filter, rotate
from gpgan.wedge.restored import within
from gpgan.wedge.rotations import random_rotations
from gpgan.wedge.scores import wedge_correlation
from gpgan.wedge.shared import Model, Plan, SharedVolumes

SIDE, VOXEL, COUNT = 16, 15.0, 96


def observed(dims: int, classes: int = 1, deviation: float = 0.2) -> tuple[Model, torch.Tensor, torch.Tensor]:
    """A model, observations ``[COUNT + 16, ...]`` of blobs in turns, and what is behind them."""
    shape, wedge = (SIDE,) * dims, Wedge()
    observation = Observation(wedge).filter(shape)
    poses = random_rotations(COUNT + 16, dims, rng(1))
    own = torch.stack([blobs(shape, seed) for seed in range(classes)])
    truth = rotate(own[torch.arange(len(poses)) % classes][:, None], poses)[:, 0]
    even, odd = halves(truth, observation, deviation, rng(2))
    measured = wedge.mask(shape)
    model = Model(wedge, observation.transfer, None, noise_spectrum(even, odd, measured), shape)
    return model, (even + odd) / 2, truth


def fit(shared: SharedVolumes, observations: torch.Tensor, epochs: int) -> None:
    shared.begin(torch.arange(COUNT), observations[:COUNT])
    for epoch in range(epochs):
        order = torch.randperm(COUNT, generator=shared.rng)
        for rows in order.split(32):
            shared.step(rows, observations[rows], len(rows) / COUNT, min(0.45, 0.2 + 0.05 * epoch))


@pytest.mark.parametrize(("dims", "plan"), [(2, "entropic"), (2, "exact"), (3, "entropic")])
def test_the_wedge_is_restored(dims: int, plan: Plan):
    model, observations, truth = observed(dims)
    shared = SharedVolumes(model, 1, COUNT, plan=plan, poses=64, rng=rng(3))
    fit(shared, observations, 8)
    found = shared.posterior(observations[COUNT:], samples=8, poses=256)
    scores = wedge_correlation(found.mean, truth[COUNT:], model.wedge, VOXEL)
    assert float(scores.mean()) > 0.9
    assert found.classes is not None
    assert not bool(found.classes.any())


def test_two_structures_are_told_apart_with_their_masses_fixed():
    model, observations, truth = observed(2, classes=2)
    shared = SharedVolumes(model, 2, COUNT, masses=torch.tensor([0.5, 0.5]), poses=64, rng=rng(3))
    fit(shared, observations, 12)
    found = shared.posterior(observations[COUNT:], samples=8, poses=256)
    labels = torch.arange(COUNT, COUNT + 16) % 2
    assert found.classes is not None
    same = (found.classes == labels).float().mean()
    assert max(float(same), 1 - float(same)) == 1
    assert float(wedge_correlation(found.mean, truth[COUNT:], model.wedge, VOXEL).mean()) > 0.85


def test_the_spread_is_that_of_the_error():
    """About two thirds of the wedge's voxels lie within one deviation of the truth."""
    model, observations, truth = observed(2, deviation=2.0)
    shared = SharedVolumes(model, 1, COUNT, poses=64, rng=rng(3))
    fit(shared, observations, 8)
    found = shared.posterior(observations[COUNT:], samples=32, poses=256)
    assert 0.5 < within(found, truth[COUNT:], model.wedge) < 0.85


def test_noise_alone_restores_nothing():
    """A negative control: in a stationary Gaussian field the wedge is independent of the rest."""
    model, observations, _ = observed(2)
    fields = torch.randn(COUNT + 16, SIDE, SIDE, generator=rng(7))
    seen = Filter(model.transfer, model.shape)(fields + 0.2 * torch.randn(fields.shape, generator=rng(8)))
    shared = SharedVolumes(model, 1, COUNT, poses=64, rng=rng(3))
    fit(shared, seen, 4)
    found = shared.posterior(seen[COUNT:], samples=8, poses=256)
    scores = wedge_correlation(found.mean, fields[COUNT:], model.wedge, VOXEL)
    assert abs(float(scores.mean())) < 3 * float(scores.std()) / 4
    assert observations.shape == seen.shape


def test_a_fit_continues_bit_for_bit():
    model, observations, _ = observed(2)
    whole = SharedVolumes(model, 1, COUNT, poses=16, rng=rng(3))
    whole.begin(torch.arange(COUNT), observations[:COUNT])
    rows = torch.arange(32)
    whole.step(rows, observations[rows], 0.3, 0.3)
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    again = SharedVolumes(model, 1, COUNT, poses=16, rng=rng(9))
    again.load_state_dict(state)
    again.rng.set_state(whole.rng.get_state())
    for each in (whole, again):
        each.step(rows + 32, observations[rows + 32], 0.3, 0.4)
    assert torch.equal(whole.volumes, again.volumes)
    assert torch.equal(whole.rotations, again.rotations)


def test_a_cheaper_plan_has_a_smaller_cost():
    """The exact plan minimises the cost that all plans report."""
    model, observations, _ = observed(2)
    costs: dict[str, float] = {}
    plans: list[Plan] = ["exact", "entropic", "minibatch"]
    for plan in plans:
        shared = SharedVolumes(model, 1, COUNT, plan=plan, poses=31, rng=rng(3))
        shared.begin(torch.arange(COUNT), observations[:COUNT])
        costs[plan] = float(shared.step(torch.arange(32), observations[:32], 0.3, 0.3)["cost"])
    assert costs["exact"] <= costs["entropic"] <= costs["minibatch"]
