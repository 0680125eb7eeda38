"""The step under autocast: parameters stay float32, and gradients are as accurate as those of a script under autocast.

With float16 the losses are scaled, the penalty stays float32, and an update that overflowed is skipped.
"""

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


@pytest.mark.parametrize("path", ["scheduled", "general"])
@pytest.mark.parametrize("paired", [False, True])
def test_the_objective_is_computed_in_float32(path: str, paired: bool) -> None:
    critic = CRITICS["MLP"].build(torch.float32)
    if path == "general":
        critic = torch.nn.Sequential(critic, torch.nn.Softplus())
    seen = []

    def term(*scores: torch.Tensor) -> torch.Tensor:
        seen.extend(each.dtype for each in scores)
        return sum(each.mean() for each in scores)

    objective = term if paired else (term, term)
    step = CriticStep(critic, sgd(critic.parameters()), autocast=torch.bfloat16, objective=objective)
    real, fake, alpha = CRITICS["MLP"].samples(torch.float32)
    stats = step(real, fake, alpha=alpha)
    assert step.plan.startswith(path)
    assert set(seen) == {torch.float32}
    assert stats.real_scores.dtype == torch.bfloat16
    assert stats.loss.dtype == torch.float32


class Partly(torch.nn.Module):
    """A critic that leaves autocast for its first layer, or enters it for that layer."""

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
    # Rounded to bfloat16, gradients differ by a few hundredths; all in float32, by far less.
    limit = 0.2 if first or second else 1e-5
    assert_exact(list(gradients(ours)), list(gradients(script)), relative=limit)
    torch.testing.assert_close(stats.penalty, wanted["penalty"], rtol=limit, atol=0.0)


def test_float64_samples_stay_float64() -> None:
    # As in autocast, float64 numbers are not rounded.
    case = CRITICS["MLP"]
    ours, script = case.build(), case.build()
    step = CriticStep(ours, sgd(ours.parameters()), autocast=torch.bfloat16)
    real, fake, alpha = case.samples()
    step(real, fake, alpha=alpha)
    Script(script, sgd(script.parameters()))(real, fake, alpha)
    for mine, theirs in zip(gradients(ours), gradients(script), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def scaler(scale: float = 2.0**10) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale)


def flat(critic: torch.nn.Module) -> torch.Tensor:
    return torch.cat([g.double().flatten() for g in gradients(critic) if g is not None])


HALF = ["MLP", "DCGAN", "GroupNorm", "mixture"]


@pytest.mark.parametrize("name", HALF)
def test_float16_is_near_float32(name: str) -> None:
    """Unscaled gradients, penalty and scores equal those in float32 up to a few roundings to 11 bits."""
    case = CRITICS[name]
    half, full = case.build(torch.float32), case.build(torch.float32)
    (real, fake, alpha), args = case.samples(torch.float32), case.args()
    ours = CriticStep(half, sgd(half.parameters()), autocast=torch.float16, scaler=scaler(), max_grad_norm=1e9)
    theirs = CriticStep(full, sgd(full.parameters()))
    stats, wanted = (step(real, fake, alpha=alpha, critic_args=args) for step in (ours, theirs))
    assert stats.real_scores.dtype == torch.float16 or name == "mixture"  # whose weights are float32
    assert {g.dtype for g in gradients(half) if g is not None} == {torch.float32}
    error = float((flat(half) - flat(full)).norm() / flat(full).norm())
    assert 0 < error < 5e-3
    # The penalty is computed entirely in float32.
    assert stats.penalty is not None
    assert wanted.penalty is not None
    assert stats.penalty.dtype == torch.float32
    torch.testing.assert_close(stats.penalty, wanted.penalty, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(stats.norms, wanted.norms, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(stats.wasserstein.float(), wanted.wasserstein, rtol=0.05, atol=5e-3)


@pytest.mark.parametrize("name", ["MLP", "GroupNorm"])
@pytest.mark.parametrize("clip", [None, 1e-3])
def test_the_scale_does_not_change_the_update(name: str, clip: float | None) -> None:
    """Gradients are unscaled before they are clipped and before the optimizer uses them."""
    case = CRITICS[name]
    (real, fake, alpha), args = case.samples(torch.float32), case.args()
    moves = []
    for scale in (2.0**6, 2.0**10):
        critic = case.build(torch.float32)
        before = torch.cat([p.detach().clone().flatten() for p in critic.parameters()])
        step = CriticStep(
            critic, sgd(critic.parameters()), autocast=torch.float16, scaler=scaler(scale), max_grad_norm=clip
        )
        step(real, fake, alpha=alpha, critic_args=args)
        moves.append(torch.cat([p.detach().flatten() for p in critic.parameters()]) - before)
    torch.testing.assert_close(moves[0], moves[1], rtol=0.0, atol=5e-3 * float(moves[0].norm()))
    if clip is not None:  # the learning rate of sgd is 0.002
        assert float(moves[0].norm()) == pytest.approx(0.002 * clip, rel=2e-2)


@pytest.mark.parametrize("name", ["MLP", "GroupNorm"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_an_overflow_skips_the_update_and_halves_the_scale(name: str, clip: float | None) -> None:
    case = CRITICS[name]
    critic, scale = case.build(torch.float32), scaler(2.0**100)
    (real, fake, alpha), args = case.samples(torch.float32), case.args()
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.1)
    step = CriticStep(critic, optimizer, autocast=torch.float16, scaler=scale, max_grad_norm=clip)
    before = [p.detach().clone() for p in critic.parameters()]
    stats = step(real, fake, alpha=alpha, critic_args=args)
    assert scale.get_scale() == 2.0**99
    assert all(torch.equal(p, b) for p, b in zip(critic.parameters(), before, strict=True))
    assert all(not state.get("exp_avg", torch.zeros(1)).any() for state in optimizer.state.values())
    assert bool(stats.loss.isfinite())
    scale.update(2.0**8)
    step(real, fake, alpha=alpha, critic_args=args)
    assert any(not torch.equal(p, b) for p, b in zip(critic.parameters(), before, strict=True))
    assert all(bool(p.isfinite().all()) for p in critic.parameters())


def test_the_scale_grows_with_steps_that_fit() -> None:
    case = CRITICS["MLP"]
    critic, scale = case.build(torch.float32), torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
    step = CriticStep(critic, sgd(critic.parameters()), autocast=torch.float16, scaler=scale)
    real, fake, alpha = case.samples(torch.float32)
    scales = []
    for _ in range(7):
        step(real, fake, alpha=alpha)
        scales.append(scale.get_scale())
    assert scales == [8, 8, 16, 16, 16, 32, 32]


def test_a_scaler_without_autocast() -> None:
    """The same as in a script whose critic enters autocast itself."""
    case = CRITICS["MLP"]
    scaled, plain = case.build(torch.float32), case.build(torch.float32)
    real, fake, alpha = case.samples(torch.float32)
    for critic, scale in ((scaled, scaler()), (plain, None)):
        CriticStep(critic, sgd(critic.parameters()), scaler=scale)(real, fake, alpha=alpha)
    for mine, its in zip(scaled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-7)


def test_no_cuda_graph_with_a_scaler() -> None:
    case = CRITICS["MLP"]
    critic = case.build(torch.float32)
    step = CriticStep(
        critic, sgd(critic.parameters()), autocast=torch.float16, scaler=scaler(), compile=True, cuda_graph=True
    )
    real, fake, alpha = case.samples(torch.float32)
    step(real, fake, alpha=alpha)
    assert "no CUDA graph: its losses are scaled" in step.plan


def test_float16_without_a_scaler_is_refused() -> None:
    critic = CRITICS["MLP"].build(torch.float32)
    optimizer = sgd(critic.parameters())
    with pytest.raises(ValueError, match=r"autocast is torch.float16 and scaler is None.*torch.amp.GradScaler"):
        CriticStep(critic, optimizer, autocast=torch.float16)
    with pytest.raises(TypeError, match=r"scaler is a float; expected a torch.amp.GradScaler or None"):
        CriticStep(critic, optimizer, autocast=torch.float16, scaler=1024.0)  # type: ignore[arg-type]
