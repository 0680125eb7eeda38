"""The objectives' terms: values and slopes against closed forms in NumPy's float64, and finite for extreme scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tolerances import assert_near
from torch import Tensor

from gpgan.objectives import OBJECTIVES, Objective, get

Array = np.ndarray


def softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# From real scores r and fake scores f: the critic's loss, its slopes with respect to r and f, the generator's loss, its
# slope with respect to f. Each is for one pair; a loss is their mean.
Formula = Callable[[Array, Array], Array]
FORMULAS: dict[str, tuple[Formula, Formula, Formula, Formula, Formula]] = {
    "wasserstein": (
        lambda r, f: f - r,
        lambda r, f: -np.ones_like(r),
        lambda r, f: np.ones_like(f),
        lambda r, f: -f,
        lambda r, f: -np.ones_like(f),
    ),
    "minimax": (
        lambda r, f: -np.log(sigmoid(r)) - np.log(1 - sigmoid(f)),
        lambda r, f: -(1 - sigmoid(r)),
        lambda r, f: sigmoid(f),
        lambda r, f: np.log(1 - sigmoid(f)),
        lambda r, f: -sigmoid(f),
    ),
    "non-saturating": (
        lambda r, f: -np.log(sigmoid(r)) - np.log(1 - sigmoid(f)),
        lambda r, f: -(1 - sigmoid(r)),
        lambda r, f: sigmoid(f),
        lambda r, f: -np.log(sigmoid(f)),
        lambda r, f: -(1 - sigmoid(f)),
    ),
    "least-squares": (
        lambda r, f: ((r - 1) ** 2 + f**2) / 2,
        lambda r, f: r - 1,
        lambda r, f: f,
        lambda r, f: (f - 1) ** 2 / 2,
        lambda r, f: f - 1,
    ),
    "hinge": (
        lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f),
        lambda r, f: -(r < 1).astype(float),
        lambda r, f: (f > -1).astype(float),
        lambda r, f: -f,
        lambda r, f: -np.ones_like(f),
    ),
    "relativistic": (
        lambda r, f: -np.log(sigmoid(r - f)),
        lambda r, f: -sigmoid(f - r),
        lambda r, f: sigmoid(f - r),
        lambda r, f: -np.log(sigmoid(f - r)),
        lambda r, f: -sigmoid(r - f),
    ),
}
SHAPES = ((5,), (5, 1), (3, 1, 4, 4))


def scores(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(4)
    real, fake = 3 * torch.randn(2, *shape, dtype=torch.float64, generator=rng)
    return real.requires_grad_(), fake.requires_grad_()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_and_slopes_in_closed_form(name: str, shape: tuple[int, ...]) -> None:
    objective, (critic, by_real, by_fake, generator, slope) = OBJECTIVES[name], FORMULAS[name]
    real, fake = scores(shape)
    arrays = real.detach().numpy(), fake.detach().numpy()
    loss = objective.critic_loss(real, fake)
    assert loss.shape == ()
    assert_near(loss, torch.tensor(critic(*arrays).mean()))
    slopes = torch.autograd.grad(loss, (real, fake))
    for mine, formula in zip(slopes, (by_real, by_fake), strict=True):
        assert_near(mine, torch.from_numpy(formula(*arrays) / real.numel()))
    loss = objective.generator_loss(real, fake)
    assert loss.shape == ()
    assert_near(loss, torch.tensor(generator(*arrays).mean()))
    assert_near(torch.autograd.grad(loss, fake)[0], torch.from_numpy(slope(*arrays) / fake.numel()))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradcheck(name: str) -> None:
    objective, (real, fake) = OBJECTIVES[name], scores((6,))
    assert (
        min(float((each.detach().abs() - 1).abs().min()) for each in (real, fake)) > 1e-3
    )  # away from the hinge's kinks
    torch.autograd.gradcheck(objective.critic_loss, (real, fake))
    torch.autograd.gradcheck(objective.generator_loss, (real, fake))


def test_worked_by_hand() -> None:
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -3.0])
    assert get("wasserstein").critic_loss(real, fake).item() == -1.5 - 1.0
    assert get("hinge").critic_loss(real, fake).item() == (1 + 0) / 2 + (1 + 0) / 2
    assert get("least-squares").critic_loss(real, fake).item() == (1 + 1) / 4 + (0 + 9) / 4
    assert get("hinge").generator_loss(None, fake).item() == 1.5
    zero = torch.zeros(4)
    for name in OBJECTIVES:  # equal scores give the chance loss, except in least squares
        loss = get(name).critic_loss(zero, zero).item()
        assert loss == pytest.approx(0.5 if name == "least-squares" else get(name).chance)
    half = torch.full((4,), 0.5)
    assert get("least-squares").critic_loss(half, half).item() == get("least-squares").chance


def test_without_a_closed_form_of_its_divergence_an_objective_reports_its_negated_loss() -> None:
    objective = Objective("margin", (lambda r: (1 - r).relu().mean(), lambda f: f.exp().mean()), lambda f: -f.mean())
    real, fake = scores((6,))
    assert objective.estimate(real, fake) == -objective.critic_loss(real, fake)
    assert (objective.estimated, objective.symbol) == ("loss, negated", "-loss")
    assert get("hinge").estimated == "estimate of the total variation"


# --- extreme scores


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_large_scores_and_half_precision(name: str, size: float, dtype: torch.dtype) -> None:
    """The exact number, rounded to the loss's dtype: 0 or |s| where the logarithm of a sigmoid would underflow."""
    objective = OBJECTIVES[name]
    stable: dict[str, tuple[Formula, Formula]] = {
        "minimax": (lambda r, f: softplus(-r) + softplus(f), lambda r, f: -softplus(f)),
        "non-saturating": (lambda r, f: softplus(-r) + softplus(f), lambda r, f: softplus(-f)),
        "relativistic": (lambda r, f: softplus(f - r), lambda r, f: softplus(r - f)),
    }
    critic, generator = stable.get(name, (FORMULAS[name][0], FORMULAS[name][3]))
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        real, fake = (torch.full((3,), sign * size, dtype=dtype).requires_grad_() for sign in signs)
        arrays = [each.detach().double().numpy() for each in (real, fake)]
        for loss, formula in (
            (objective.critic_loss(real, fake), critic),
            (objective.generator_loss(real, fake), generator),
        ):
            exact = torch.tensor(formula(*arrays).mean())
            assert loss.isfinite()
            assert_near(loss.detach(), exact.to(loss.dtype), terms=size)
            slopes = torch.autograd.grad(loss, (real, fake), allow_unused=True)
            assert all(slope.isfinite().all() for slope in slopes if slope is not None)


def test_only_the_non_saturating_generator_learns_from_a_sure_discriminator() -> None:
    fake = torch.tensor([-40.0], dtype=torch.float64, requires_grad=True)
    slope = {name: torch.autograd.grad(get(name).generator_loss(fake, fake), fake)[0].item() for name in OBJECTIVES}
    assert slope["minimax"] == pytest.approx(-np.exp(-40), rel=1e-12)
    assert slope["non-saturating"] == pytest.approx(-1.0)
    assert slope["wasserstein"] == slope["hinge"] == -1.0
    sure = torch.tensor([40.0], dtype=torch.float64)
    loss = get("relativistic").generator_loss(sure, fake)
    assert torch.autograd.grad(loss, fake)[0].item() == pytest.approx(-1.0)


# --- pairs


def test_symmetries_of_the_relativistic_objective() -> None:
    objective = get("relativistic")
    real, fake = scores((7,))
    loss = objective.critic_loss(real, fake)
    by_real, by_fake = torch.autograd.grad(loss, (real, fake))
    assert_near(by_real, -by_fake)
    assert_near(objective.critic_loss(real + 5, fake + 5), loss)  # only differences of scores count
    order = torch.randperm(7)
    assert_near(objective.critic_loss(real[order], fake[order]), loss)
    assert (objective.critic_loss(real[order], fake) - loss).abs() > 1e-3
    assert torch.equal(objective.generator_loss(real, fake), objective.critic_loss(fake, real))
    # softplus(x) - softplus(-x) = x
    assert_near(objective.generator_loss(real, fake) - loss, (real - fake).mean())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_real_scores_may_be_missing_where_nothing_is_compared(name: str) -> None:
    objective, (real, fake) = OBJECTIVES[name], scores((4,))
    assert objective.paired == (name == "relativistic")
    if objective.paired:
        with pytest.raises(ValueError, match=r"real_scores is None.*relativistic"):
            objective.generator_loss(None, fake)
    else:
        assert torch.equal(objective.generator_loss(None, fake), objective.generator_loss(real, fake))


# --- precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_half_precision_scores_are_added_up_in_float32(name: str, dtype: torch.dtype) -> None:
    objective = get(name)
    rng = torch.Generator().manual_seed(0)
    # Far from 0, where bfloat16's steps are 1/4 wide, with a mean between two steps.
    real, fake = (torch.randn(64, generator=rng).add(40).to(dtype).requires_grad_() for _ in range(2))
    for loss in (objective.critic_loss, objective.generator_loss, objective.estimate):
        value = loss(real, fake)
        assert_near(value, loss(real.double(), fake.double()), 40)
        assert value.dtype == torch.float32
    objective.critic_loss(real, fake).backward()
    assert real.grad is not None
    assert real.grad.dtype == dtype


# --- shapes


def test_pairs_are_of_scores_of_one_shape() -> None:
    objective = get("relativistic")
    for real, fake in (((4, 1), (4,)), ((4,), (1,))):
        for loss in (objective.critic_loss, objective.generator_loss):
            with pytest.raises(ValueError, match=r"real_scores has shape .* and fake_scores .*; expected the same"):
                loss(torch.zeros(real), torch.zeros(fake))


# --- names


@pytest.mark.parametrize(("name", "nearest"), [
    ("wassertein", "wasserstein"),
    ("Hinge", "hinge"),
    ("WASSERSTEIN", "wasserstein"),
    ("least_squares", "least-squares"),
    ("nonsaturating", "non-saturating"),
    ("relativist", "relativistic"),
])  # fmt: skip
def test_unknown_names_give_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"objective is '{name}'.*did you mean '?{nearest}'?") as raised:
        get(name)
    assert all(each in str(raised.value) for each in OBJECTIVES)


def test_every_name_is_its_own() -> None:
    assert {name: each.name for name, each in OBJECTIVES.items()} == {name: name for name in OBJECTIVES}
