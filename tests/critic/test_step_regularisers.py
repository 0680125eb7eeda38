"""Every objective with every penalty and constraint: the step equals the script's, on both paths."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from critics import CRITICS, assert_exact
from script_step import CriticLoss, Script, compare, gradients, sgd
from torch import Tensor, nn

from gpgan import CriticStep, Penalty, gradient_penalty, objectives
from gpgan.nn.packing import pack
from gpgan.nn.spectral import spectral_norm

logistic = (lambda s: torch.log1p(torch.exp(-s)).mean(), lambda s: torch.log1p(torch.exp(s)).mean())
# As written in their papers.
FORMULAS: dict[str, CriticLoss] = {
    "wasserstein": (lambda s: -s.mean(), lambda s: s.mean()),
    "minimax": logistic,
    "non-saturating": logistic,
    "least-squares": (lambda s: 0.5 * ((s - 1) ** 2).mean(), lambda s: 0.5 * (s**2).mean()),
    "hinge": (lambda s: (1 - s).clamp(min=0).mean(), lambda s: (1 + s).clamp(min=0).mean()),
    "relativistic": lambda real, fake: -torch.log(torch.sigmoid(real - fake)).mean(),
}
PENALTIES = {
    "between": Penalty(),
    "between, one-sided": Penalty(one_sided=True, target=0.3),
    "between, zero-centred": Penalty(target=0.0),
    "real": Penalty(weight=5.0, target=0.0, points="real"),
    "fake": Penalty(weight=5.0, target=0.0, points="fake"),
    "both": Penalty(weight=5.0, target=0.0, points="both"),
    "both, two-sided": Penalty(points="both"),
    "noisy": Penalty(points="noisy"),
}


def critic_of(path: str) -> nn.Module:
    critic = CRITICS["MLP"].build()
    return critic if path == "scheduled" else critic.insert(2, nn.LayerNorm(12).double())


@pytest.mark.parametrize("path", ["scheduled", "general"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("objective", objectives.OBJECTIVES)
def test_every_objective_with_every_penalty(objective: str, penalty: str, path: str) -> None:
    """The penalty is computed at the first and third step, with twice its weight."""
    step = compare(
        lambda: critic_of(path),
        (4, 2),
        objective=objectives.get(objective).critic,
        formula=FORMULAS[objective],
        penalty=PENALTIES[penalty],
        lazy=2,
        max_weight=0.9,
    )
    assert step.plan.startswith(path)


@pytest.mark.parametrize("penalty", [*PENALTIES, None])
@pytest.mark.parametrize("objective", ["hinge", "relativistic"])
def test_under_spectral_normalisation(objective: str, penalty: str | None) -> None:
    """Each forward is a power iteration, with its vectors in buffers: as many as in the script, in the same order."""
    step = compare(
        lambda: spectral_norm(critic_of("scheduled")),
        (4, 2),
        objective=objectives.get(objective).critic,
        formula=FORMULAS[objective],
        penalty=PENALTIES[penalty] if penalty else None,
    )
    assert step.plan.startswith("general")


@pytest.mark.parametrize("path", ["scheduled", "general"])
def test_packed_samples(path: str) -> None:
    critic = CRITICS["DCGAN"].build()
    critic[0] = nn.Conv2d(6, 4, 4, stride=2, padding=1).double()
    script = copy.deepcopy(critic)
    ours = critic if path == "scheduled" else lambda x: critic(x)
    step, other = CriticStep(ours, sgd(critic.parameters())), Script(script, sgd(script.parameters()))
    real, fake = torch.randn(2, 8, 3, 8, 8, dtype=torch.float64)
    alpha = torch.rand(4, dtype=torch.float64)
    step(pack(real, 2), pack(fake, 2), alpha=alpha)
    other(*(torch.cat([x[0::2], x[1::2]], dim=1) for x in (real, fake)), alpha)
    assert step.plan.startswith(path)
    assert_exact(list(critic.parameters()), list(script.parameters()))


@pytest.mark.parametrize("name", ["MLP", "DCGAN", "GroupNorm", "projection"])
def test_both_is_r1_and_r2_with_half_of_gamma_each(name: str) -> None:
    case = CRITICS[name]
    ours, apart = case.build(), case.build()
    (real, fake, _), args, gamma = case.samples(), case.args(), 3.0
    step = CriticStep(ours, sgd(ours.parameters()), penalty=Penalty(weight=gamma, target=0.0, points="both"))
    stats = step(real, fake, critic_args=args)
    r1, r2 = (
        gradient_penalty(apart, real, fake, points=points, target=0.0, weight=gamma / 2, critic_args=args)
        for points in ("real", "fake")
    )
    (apart(fake, *args).mean() - apart(real, *args).mean() + r1 + r2).backward()
    torch.testing.assert_close(stats.penalty, (r1 + r2).detach(), rtol=1e-12, atol=0.0)
    assert_exact(list(gradients(ours)), list(gradients(apart)))
    assert stats.norms.shape == (8,)


# --- a paired objective on the general path


def joint_step(critic: nn.Module, **options: Any) -> CriticStep:
    return CriticStep(critic, sgd(critic.parameters()), objective=objectives.get("relativistic").critic, **options)


def test_a_joint_objective_with_scaled_losses() -> None:
    (real, fake, alpha), critics = CRITICS["MLP"].samples(), [CRITICS["MLP"].build() for _ in range(2)]
    scaled = joint_step(critics[0], scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10), max_grad_norm=0.1)
    for step in (scaled, joint_step(critics[1], max_grad_norm=0.1)):
        step(real, fake, alpha=alpha)
    assert_exact(list(critics[0].parameters()), list(critics[1].parameters()))


@pytest.mark.parametrize("name", ["MLP", "GroupNorm"])
def test_a_joint_objective_is_one_gradient_to_a_hook(name: str) -> None:
    calls: list[int] = []

    def clamp(parameter: Tensor) -> None:
        calls.append(1)
        parameter.grad.clamp_(-0.01, 0.01)

    def before(critic: nn.Module, step: int) -> None:
        if step == 0:
            critic[0].weight.register_post_accumulate_grad_hook(clamp)

    case = CRITICS[name]
    compare(
        case.build,
        case.shape,
        before=before,
        objective=objectives.get("relativistic").critic,
        formula=FORMULAS["relativistic"],
        penalty=PENALTIES["both"],
    )
    assert len(calls) == 6  # three steps of two critics


# --- clipped weights


def test_weights_are_clipped_where_the_scaler_skipped_the_update() -> None:
    critic = CRITICS["MLP"].build(torch.float32)
    wanted = [p.detach().clamp(-0.1, 0.1) for p in critic.parameters()]
    scale = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    real, fake, alpha = CRITICS["MLP"].samples(torch.float32)
    joint_step(critic, scaler=scale, max_weight=0.1)(1e3 * real, fake, alpha=alpha)
    assert scale.get_scale() == 2.0**126
    assert all(torch.equal(p, w) for p, w in zip(critic.parameters(), wanted, strict=True))


def test_only_what_the_optimizer_holds_is_clipped() -> None:
    critic = CRITICS["MLP"].build()
    before = [p.detach().clone() for p in critic.parameters()]
    step = CriticStep(critic, sgd(list(critic.parameters())[2:]), penalty=None, max_weight=0.05)
    step(*CRITICS["MLP"].samples()[:2])
    after = list(critic.parameters())
    assert all(torch.equal(a, b) for a, b in zip(after[:2], before[:2], strict=True))
    assert float(before[0].abs().max()) > 0.05
    assert max(float(p.detach().abs().max()) for p in after[2:]) == 0.05


def test_weights_that_are_normalised_cannot_be_clipped() -> None:
    critic = spectral_norm(critic_of("general"))
    with pytest.raises(ValueError, match=r"max_weight is 0\.1 and the critic has spectral normalisation"):
        CriticStep(critic, sgd(critic.parameters()), penalty=None, max_weight=0.1)
