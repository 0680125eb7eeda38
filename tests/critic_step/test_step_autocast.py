"""The step under bfloat16 autocast: parameters stay float32, and gradients are as near as those of the script's autocast."""

from __future__ import annotations

import copy

import pytest
import torch
from critics import CRITICS, assert_exact
from script_step import OBJECTIVES, Script, gradients, sgd

from gpgan import CriticStep


@pytest.mark.parametrize("name", ["MLP", "DCGAN", "ResNet, slices", "GroupNorm", "mixture"])
@pytest.mark.parametrize("objective", ["hinge", "non-saturating"])
def test_gradients_are_as_near_as_the_scripts(name: str, objective: str) -> None:
    case = CRITICS[name]
    ours = case.build(torch.float32)
    script, exact = copy.deepcopy(ours), copy.deepcopy(ours).double()
    (real, fake, alpha), args = case.samples(torch.float32), case.args()
    terms = OBJECTIVES[objective]
    step = CriticStep(ours, sgd(ours.parameters()), autocast=torch.bfloat16, objective=terms)
    stats = step(real, fake, alpha=alpha, critic_args=args)
    wanted = Script(script, sgd(script.parameters()), autocast=torch.bfloat16, objective=terms)(real, fake, alpha, args)
    truth = Script(exact, sgd(exact.parameters()), objective=terms)(real.double(), fake.double(), alpha.double(), args)

    def flat(critic: torch.nn.Module) -> torch.Tensor:
        grads = gradients(critic)
        assert all(g is not None and g.dtype == p.dtype for g, p in zip(grads, critic.parameters(), strict=True))
        return torch.cat([g.double().flatten() for g in grads])

    error, scripts_error = (float((flat(critic) - flat(exact)).norm()) for critic in (ours, script))
    assert 0 < error <= 2 * scripts_error < float(flat(exact).norm())
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    for value in ("penalty", "loss", "norm_mean"):
        error, scripts_error = (abs(float(v) - float(truth[value])) for v in (getattr(stats, value), wanted[value]))
        assert error <= 2 * scripts_error + 2e-3 * abs(float(truth[value]))
    assert stats.penalty.dtype == torch.float32


class Partly(torch.nn.Module):
    """A critic that leaves autocast for its first layer, or enters it for one."""

    def __init__(self, first: bool, second: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b, self.c = (torch.nn.Linear(n, m) for n, m in ((6, 64), (64, 64), (64, 1)))
        self.first, self.second = first, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.first):
            h = torch.relu(self.a(x))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.second):
            return self.c(torch.relu(self.b(h if self.second else h.float())))


@pytest.mark.parametrize("autocast", [torch.bfloat16, None])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_autocast_within_the_critic_counts(autocast: torch.dtype | None, first: bool, second: bool) -> None:
    ours = Partly(first, second)
    script = copy.deepcopy(ours)
    step = CriticStep(ours, sgd(ours.parameters()), autocast=autocast)
    other = Script(script, sgd(script.parameters()), autocast=autocast)
    real, fake = torch.randn(2, 8, 6)
    alpha = torch.rand(8)
    stats, wanted = step(real, fake, alpha=alpha), other(real, fake, alpha)
    assert stats.real_scores.dtype == (torch.bfloat16 if second else torch.float32)
    # Rounded to bfloat16, gradients are apart by some hundredths; all in float32, by far less.
    limit = 0.2 if first or second else 1e-5
    assert_exact(list(gradients(ours)), list(gradients(script)), relative=limit)
    torch.testing.assert_close(stats.penalty, wanted["penalty"], rtol=limit, atol=0.0)


def test_float64_samples_stay_float64() -> None:
    # As autocast has it: no number of float64 is rounded.
    case = CRITICS["MLP"]
    ours, script = case.build(), case.build()
    step = CriticStep(ours, sgd(ours.parameters()), autocast=torch.bfloat16)
    real, fake, alpha = case.samples()
    step(real, fake, alpha=alpha)
    Script(script, sgd(script.parameters()))(real, fake, alpha)
    for mine, theirs in zip(gradients(ours), gradients(script), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
