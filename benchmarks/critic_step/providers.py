"""The step by PyTorch and by gpgan. Each provider is a Step, built for a Problem; the JAX one is in jax_step.py.

The hyperparameters are a script's: weight 10, Adam with lr 1e-4 and betas (0, 0.9), defaults for everything else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import gpgan
from benchmarks.critic_step.critics import BETAS, LR, WEIGHT, Problem


class Step(Protocol):
    @property
    def note(self) -> str:
        """The provider's remark for the table, or an empty string."""

    def __call__(self, alpha: Tensor | None = None) -> None:
        """One step. alpha [B] is drawn if None."""

    def gradients(self) -> list[Tensor]:
        """Those of the last step, in the order of net.parameters()."""

    def own_counts(self) -> dict[str, Any]:
        """ "forwards" and "peak_bytes", if PyTorch cannot see into the step; else nothing."""


def adam(net: nn.Module, *, fused: bool = False) -> torch.optim.Adam:
    if fused:
        return torch.optim.Adam(net.parameters(), lr=LR, betas=BETAS, fused=True)
    return torch.optim.Adam(net.parameters(), lr=LR, betas=BETAS)


def first_moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """With beta1 = 0 Adam's first moment is the last gradient it received, whoever computed it and wherever."""
    return [optimizer.state[p]["exp_avg"] for group in optimizer.param_groups for p in group["params"]]


def autocast(device: str, half: bool) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(device, torch.bfloat16) if half else contextlib.nullcontext()


def interpolate(real: Tensor, fake: Tensor, alpha: Tensor | None) -> Tensor:
    if alpha is None:
        alpha = torch.rand(real.size(0), device=real.device)
    alpha = alpha.view(-1, *[1] * (real.dim() - 1)).expand_as(real)
    return (alpha * real + (1 - alpha) * fake).requires_grad_()


def penalised_loss(net: nn.Module, real: Tensor, fake: Tensor, x: Tensor, half: bool) -> Tensor:
    """The critic's loss with the penalty at x. The gradient is taken outside autocast, as PyTorch's AMP notes say."""
    with autocast(x.device.type, half):
        loss = net(fake).mean() - net(real).mean()
        scores = net(x)
    (grads,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True, retain_graph=True)
    norms = grads.reshape(grads.size(0), -1).norm(2, dim=1)
    return loss + WEIGHT * ((norms - 1) ** 2).mean()


class Stock:
    """What scripts do."""

    note: str = ""

    def __init__(self, problem: Problem, *, penalty: bool = True, fused: bool = False) -> None:
        self.net, self.real, self.fake = problem.net, problem.real, problem.fake
        self.half = problem.precision == "bfloat16"
        self.penalty = penalty
        self.optimizer = adam(problem.net, fused=fused)

    def loss(self, alpha: Tensor | None) -> Tensor:
        if self.penalty:
            return penalised_loss(self.net, self.real, self.fake, interpolate(self.real, self.fake, alpha), self.half)
        with autocast(self.real.device.type, self.half):
            loss: Tensor = self.net(self.fake).mean() - self.net(self.real).mean()
            return loss

    def __call__(self, alpha: Tensor | None = None) -> None:
        self.optimizer.zero_grad()
        self.loss(alpha).backward()
        self.optimizer.step()

    def gradients(self) -> list[Tensor]:
        return first_moments(self.optimizer)

    def own_counts(self) -> dict[str, Any]:
        return {}


class Compiled(Stock):
    """Stock with the loss, its inner gradient included, compiled whole: torch.compile can trace autograd.grad if x is an input
    and a leaf. The backward is compiled with it; the optimizer is not."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.compiled = torch.compile(penalised_loss, fullgraph=True)
        self.traced = False

    def loss(self, alpha: Tensor | None) -> Tensor:
        x = interpolate(self.real, self.fake, alpha)
        # The option matters only during tracing.
        with contextlib.nullcontext() if self.traced else torch._dynamo.config.patch(trace_autograd_ops=True):
            loss: Tensor = self.compiled(self.net, self.real, self.fake, x, self.half)
        self.traced = True
        return loss


class Gpgan:
    def __init__(self, problem: Problem, *, general: bool = False, **options: Any) -> None:
        self.real, self.fake = problem.real, problem.fake
        net = problem.net
        self.optimizer = adam(net)
        self.step = gpgan.CriticStep(
            # The modules behind a plain function are unknown, so it takes the general path.
            (lambda x: net(x)) if general else net,
            self.optimizer,
            penalty=gpgan.Penalty(weight=WEIGHT),
            autocast=torch.bfloat16 if problem.precision == "bfloat16" else None,
            **options,
        )

    @property
    def note(self) -> str:
        return str(self.step.plan)

    def __call__(self, alpha: Tensor | None = None) -> None:
        self.step(self.real, self.fake, alpha=alpha)

    def gradients(self) -> list[Tensor]:
        return first_moments(self.optimizer)

    def own_counts(self) -> dict[str, Any]:
        return {}


def jax_step(problem: Problem) -> Step:
    from benchmarks.critic_step.jax_step import JaxStep

    return JaxStep(problem)


@dataclass(frozen=True)
class Provider:
    make: Callable[[Problem], Step]
    inductor: bool = False  # compiled by torch, which takes long
    optional: bool = False  # may be missing on a machine
    penalised: bool = True
    captured: bool = False  # as a CUDA graph
    judged: bool = False  # one of the rows that targets are judged by
    on: tuple[str, ...] = ("cpu", "cuda")


PROVIDERS = {
    "stock": Provider(Stock),
    "torch.compile": Provider(Compiled, inductor=True),
    "JAX": Provider(jax_step, optional=True),
    "gpgan general": Provider(lambda problem: Gpgan(problem, general=True), judged=True),
    "gpgan scheduled": Provider(Gpgan, judged=True),
    "gpgan compiled": Provider(lambda problem: Gpgan(problem, compile=True), inductor=True, judged=True),
    "gpgan graph": Provider(lambda problem: Gpgan(problem, cuda_graph=True), captured=True, judged=True, on=("cuda",)),
    "stock, fused Adam": Provider(lambda problem: Stock(problem, fused=True), on=("cpu",)),
    "stock, no penalty": Provider(lambda problem: Stock(problem, penalty=False), penalised=False),
}
# Also measured in bfloat16 beside the float32 rows, on a CPU.
HALF_PROVIDERS = ("stock", "gpgan general", "gpgan scheduled")
