"""The critic step as training scripts write it, and the comparison of CriticStep with it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from critics import assert_exact
from torch import Tensor, nn

from gpgan import CriticStep, Penalty

Term = Callable[[Tensor], Tensor]
CriticLoss = tuple[Term, Term] | Callable[[Tensor, Tensor], Tensor]
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]

WASSERSTEIN: tuple[Term, Term] = (lambda s: -s.mean(), lambda s: s.mean())
OBJECTIVES: dict[str, CriticLoss] = {
    "hinge": (lambda s: torch.relu(1 - s).mean(), lambda s: torch.relu(1 + s).mean()),
    "non-saturating": (
        lambda s: nn.functional.softplus(-s).mean(),
        lambda s: nn.functional.softplus(s).mean(),
    ),
    "least squares": (lambda s: (s - 1).square().mean(), lambda s: s.square().mean()),
    "relativistic": lambda real, fake: torch.log1p(torch.exp(fake - real)).mean(),
    "sums": (lambda s: -s.sum(), lambda s: 0.5 * s.sum()),
}


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.002)


@dataclass
class Script:
    """An ordinary training step with CriticStep's arguments."""

    critic: Callable[..., Tensor]
    optimizer: torch.optim.Optimizer
    penalty: Penalty | None = field(default_factory=Penalty)
    objective: CriticLoss = WASSERSTEIN
    lazy: int = 1
    max_grad_norm: float | None = None
    max_weight: float | None = None
    autocast: torch.dtype | None = None
    steps: int = 0

    def __call__(
        self,
        real: Tensor,
        fake: Tensor,
        alpha: Tensor,
        args: Sequence[Any] = (),
        noise: torch.Generator | None = None,
    ) -> dict[str, Any]:
        self.optimizer.zero_grad()
        with torch.autocast("cpu", self.autocast, enabled=self.autocast is not None):
            real_scores, fake_scores = self.critic(real, *args), self.critic(fake, *args)
            if isinstance(self.objective, tuple):
                loss = self.objective[0](real_scores) + self.objective[1](fake_scores)
            else:
                loss = self.objective(real_scores, fake_scores)
        penalty = norms = None
        if self.penalty is not None and self.steps % self.lazy == 0:
            with torch.autocast("cpu", self.autocast, enabled=self.autocast is not None):
                norms = self._norms(real, fake, alpha, args, noise)
            excess = norms - self.penalty.target
            if self.penalty.one_sided:
                excess = excess.clamp(min=0)
            penalty = self.lazy * self.penalty.weight * excess.square().mean()
            loss = loss + penalty
        loss.backward()
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(
                [p for group in self.optimizer.param_groups for p in group["params"]], self.max_grad_norm
            )
        self.optimizer.step()
        if self.max_weight is not None:
            for group in self.optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.data.clamp_(-self.max_weight, self.max_weight)
        self.steps += 1
        return {
            "loss": loss.detach(),
            "wasserstein": (real_scores.mean() - fake_scores.mean()).detach(),
            "penalty": None if penalty is None else penalty.detach(),
            "norm_mean": None if norms is None else norms.mean().detach(),
            "norm_max": None if norms is None else norms.max().detach(),
        }

    def _norms(
        self, real: Tensor, fake: Tensor, alpha: Tensor, args: Sequence[Any], noise: torch.Generator | None
    ) -> Tensor:
        alpha = alpha.view(-1, *[1] * (real.dim() - 1))
        if self.penalty.points == "both":
            args = [torch.cat([each, each]) for each in args]
        if self.penalty.points == "noisy":
            fake = real + 0.5 * real.std(correction=0) * torch.rand(real.shape, dtype=real.dtype, generator=noise)
        between = alpha * real + (1 - alpha) * fake
        points = {"between": between, "noisy": between, "real": real, "fake": fake, "both": torch.cat([real, fake])}
        x = points[self.penalty.points].detach().clone().requires_grad_()
        (grad,) = torch.autograd.grad(self.critic(x, *args).sum(), x, create_graph=True)
        return grad.flatten(1).norm(2, dim=1)


def gradients(critic: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in critic.parameters()]


def assert_same_step(
    ours: nn.Module, script: nn.Module, stats: Any, wanted: dict[str, Any], relative: float = 1e-12
) -> None:
    """Raises unless gradients, parameters, buffers and statistics equal the script's."""
    pairs = list(zip(gradients(ours), gradients(script), strict=True))
    assert [a is None for a, _ in pairs] == [b is None for _, b in pairs]
    assert_exact([a for a, _ in pairs if a is not None], [b for _, b in pairs if b is not None], relative)
    assert_exact(list(ours.parameters()), list(script.parameters()), relative)
    for mine, theirs in zip(ours.buffers(), script.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=relative, atol=relative)
    for name, value in wanted.items():
        told = getattr(stats, name)
        assert (told is None) == (value is None), name
        if value is not None:
            assert told.shape == ()
            assert not told.requires_grad
            torch.testing.assert_close(told, value, rtol=relative, atol=relative, check_dtype=False)


def compare(
    make: Callable[[], nn.Module],
    shape: Sequence[int],
    args: Sequence[Any] = (),
    *,
    optimizer: MakeOptimizer = sgd,
    wrap: Callable[[nn.Module], Callable[..., Tensor]] = lambda critic: critic,
    before: Callable[[nn.Module, int], None] = lambda critic, step: None,
    steps: int = 3,
    relative: float = 1e-12,
    formula: CriticLoss | None = None,
    **options: Any,
) -> CriticStep:
    """Runs CriticStep and the script side by side, compares them after every step, and returns the CriticStep.

    wrap: makes the callable that both use from the critic. before: called with the critic before each step. formula:
    the script's objective, if it differs from CriticStep's.
    """
    ours = make()
    script = copy.deepcopy(ours)
    step = CriticStep(wrap(ours), optimizer(ours.parameters()), **options)
    known = {k: v for k, v in options.items() if k in Script.__dataclass_fields__}
    if formula is not None:
        known["objective"] = formula
    other = Script(wrap(script), optimizer(script.parameters()), **known)
    noises = [torch.Generator().manual_seed(3) for _ in range(2)]
    rng = torch.Generator().manual_seed(2)
    for i in range(steps):
        before(ours, i)
        before(script, i)
        real = torch.randn(*shape, dtype=torch.float64, generator=rng)
        fake = 0.5 * torch.randn(*shape, dtype=torch.float64, generator=rng) + 0.3
        alpha = torch.rand(shape[0], dtype=torch.float64, generator=rng)
        stats = step(real, fake, alpha=alpha, generator=noises[0], critic_args=args)
        wanted = other(real, fake, alpha, args, noises[1])
        assert_same_step(ours, script, stats, wanted, relative)
    return step
