"""points="both": real and fake at once, equal to R1 and R2 computed separately."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from critics import CRITICS, parameter_grads, quadratic, smooth
from test_penalty import with_parameters
from tolerances import assert_near
from torch import Tensor, nn

from gpgan import gradient_penalty


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(5)
    real, fake = torch.randn(2, *shape, dtype=torch.float64, generator=rng)
    return real, 0.5 * fake + 0.3


def test_worked_by_hand(impl: str) -> None:
    # Norms 5 and 13 at real, 0 and 17 at fake.
    real, fake = torch.tensor([[3.0, 4.0], [5.0, 12.0]]), torch.tensor([[0.0, 0.0], [8.0, 15.0]])
    options: dict[str, Any] = {"points": "both", "target": 0.0, "weight": 2.0, "impl": impl}
    mean, norms = gradient_penalty(quadratic, real, fake, return_norms=True, **options)
    assert norms.tolist() == [5, 13, 0, 17]
    assert mean.item() == 2 * (25 + 169 + 0 + 289) / 4
    assert gradient_penalty(quadratic, real, fake, reduction="sum", **options).item() == 966
    assert gradient_penalty(quadratic, real, fake, reduction="none", **options).tolist() == [50, 338, 0, 578]
    assert (
        gradient_penalty(quadratic, real, fake, points="both", weight=1.0, impl=impl).item() == (16 + 144 + 1 + 256) / 4
    )


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("second_order", ["pruned", "stock"])
def test_it_is_r1_and_r2_with_half_of_the_weight_each(name: str, second_order: str, impl: str) -> None:
    case = CRITICS[name]
    # Each forward in training mode is a power iteration, and computed separately there are two.
    critic = case.build().eval()
    (real, fake, _), options = case.samples(), {"critic_args": case.args(), "target": 0.0, "impl": impl}
    both = gradient_penalty(critic, real, fake, points="both", weight=3.0, second_order=second_order, **options)
    r1, r2 = (gradient_penalty(critic, real, fake, points=at, weight=1.5, **options) for at in ("real", "fake"))
    assert_near(both, r1 + r2)
    for mine, theirs in zip(parameter_grads(critic, both), parameter_grads(critic, r1 + r2), strict=True):
        assert_near(mine, theirs, terms=theirs.abs().max())


@pytest.mark.parametrize(("method", "relative"), [("exact", 1e-12), ("finite_difference", 1e-6)])
def test_by_both_methods(method: str, relative: float) -> None:
    critic = smooth(3)
    real, fake = pair(4, 3)
    both = gradient_penalty(critic, real, fake, points="both", target=0.1, method=method)
    apart = [gradient_penalty(critic, real, fake, points=at, target=0.1, reduction="sum") for at in ("real", "fake")]
    wanted = sum(apart) / 8
    torch.testing.assert_close(both, wanted, rtol=1e-12, atol=0.0)
    for mine, theirs in zip(parameter_grads(critic, both), parameter_grads(critic, wanted), strict=True):
        assert float((mine - theirs).norm()) <= relative * float(theirs.norm())


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradcheck_and_gradgradcheck(reduction: str, one_sided: bool, impl: str) -> None:
    critic = smooth(3)
    real, fake = pair(3, 3)
    options = {"points": "both", "target": 0.05, "one_sided": one_sided, "reduction": reduction, "impl": impl}

    def penalty(*values: Tensor) -> Tensor:
        return gradient_penalty(with_parameters(critic, values), real, fake, **options)

    parameters = tuple(critic.parameters())
    assert penalty(*parameters).abs().max() > 1e-4
    torch.autograd.gradcheck(penalty, parameters, fast_mode=True)
    torch.autograd.gradgradcheck(penalty, parameters, fast_mode=True)


def test_what_the_critic_takes_beside_the_samples_comes_twice() -> None:
    seen: dict[str, Any] = {}

    def critic(x: Tensor, labels: Tensor, count: Tensor, *, weights: Tensor, names: list[Tensor], flag: bool) -> Tensor:
        seen.update(labels=labels, count=count, weights=weights, names=names, flag=flag)
        return quadratic(x) * weights[:, 0]

    real, fake = pair(3, 2)
    labels, count, weights = torch.tensor([4, 5, 6]), torch.tensor(7), torch.tensor([[1.0], [2.0], [3.0]]).double()
    _, norms = gradient_penalty(
        critic,
        real,
        fake,
        points="both",
        critic_args=(labels, count),
        critic_kwargs={"weights": weights, "names": [labels], "flag": True},
        return_norms=True,
    )
    assert seen["labels"].tolist() == [4, 5, 6, 4, 5, 6]
    assert torch.equal(seen["count"], count)
    assert seen["names"] == [labels]
    assert seen["flag"] is True
    assert_near(norms, torch.cat([real.norm(dim=1), fake.norm(dim=1)]) * weights.flatten().repeat(2))


def test_scaled_gradients_are_unscaled(impl: str) -> None:
    critic = smooth(3)
    real, fake = pair(4, 3)
    options: dict[str, Any] = {"points": "both", "target": 0.0, "impl": impl}
    scaled = gradient_penalty(critic, real, fake, grad_scale=1024.0, **options)
    plain = gradient_penalty(critic, real, fake, **options)
    assert_near(scaled, plain)
    for mine, theirs in zip(parameter_grads(critic, scaled), parameter_grads(critic, plain), strict=True):
        assert_near(mine, theirs)


def test_nothing_flows_into_the_generator() -> None:
    real, fake = (x.requires_grad_() for x in pair(4, 3))
    gradient_penalty(smooth(3), real, fake, points="both").backward()
    assert real.grad is None
    assert fake.grad is None


@pytest.mark.parametrize(("given", "error", "words"), [
    ({"fake": None}, TypeError, ["fake is None", "'both'"]),
    ({"real": None}, TypeError, ["real is None", "'both'"]),
    ({"fake": torch.zeros(3, 2)}, ValueError, ["fake", "(3, 2)", "(4, 2)"]),
    ({"critic_args": (torch.zeros(8),)}, ValueError, ["critic_args[0]", "(8,)", "expected 4 rows"]),
    ({"critic_kwargs": {"y": torch.zeros(1, 2)}}, ValueError, ["critic_kwargs['y']", "(1, 2)", "expected 4 rows"]),
])  # fmt: skip
def test_what_is_refused(given: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    arguments = {"real": torch.ones(4, 2), "fake": torch.zeros(4, 2)} | given
    with pytest.raises(error) as raised:
        gradient_penalty(lambda x, *_, **__: quadratic(x), points="both", **arguments)
    assert [word for word in words if word not in str(raised.value)] == []


def test_batch_norm_in_training_mode_is_refused() -> None:
    critic = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1)).double()
    with pytest.raises(ValueError, match="BatchNorm in training mode"):
        gradient_penalty(critic, *pair(4, 2), points="both")
