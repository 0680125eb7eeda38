"""The same training with native, reference and stock penalties: equal curves, time of a step, memory."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.runs import plots, text
from benchmarks.runs.plan import Record, Table
from benchmarks.table import markdown, time_text
from gpgan.critic.common import CriticStats
from gpgan.tasks.adversarial import Adversarial
from gpgan.training.trainer import Trainer

STOCK, NATIVE = "stock", "native"


class Stock:
    """A critic step as scripts write it: the usual ten lines for the penalty, and autograd."""

    def __init__(self, task: Adversarial) -> None:
        self.critic, self.optimizer, self.objective = task.critic, task.critic_optimizer, task.objective.critic
        self.weight = task.config.penalty.weight
        self.state_dict = task.critic_step.state_dict  # of a step that is not used

    def __call__(self, real: Tensor, fake: Tensor, *, alpha: Tensor, critic_args: tuple[Any, ...] = ()) -> CriticStats:
        self.optimizer.zero_grad()
        real_scores, fake_scores = self.critic(real, *critic_args), self.critic(fake, *critic_args)
        mix = alpha.view(-1, *[1] * (real.dim() - 1)).expand_as(real)
        x = (mix * real + (1 - mix) * fake).requires_grad_()
        scores = self.critic(x, *critic_args)
        (grads,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True, retain_graph=True)
        norms = grads.reshape(len(grads), -1).norm(2, dim=1)
        penalty = self.weight * ((norms - 1) ** 2).mean()
        (fake_scores.mean() - real_scores.mean() + penalty).backward()
        self.optimizer.step()
        own = (real_scores.detach(), fake_scores.detach(), penalty.detach(), norms.detach())
        return CriticStats(*own, self.objective)


def prepare(trainer: Trainer, method: str) -> None:
    if method == STOCK:
        trainer.task.critic_step = Stock(trainer.task)  # type: ignore[attr-defined]


def curves(result: Record, method: str) -> np.ndarray:
    """The critic's loss ``[seeds, steps]``."""
    return np.array([[line["critic_loss"] for line in run["history"]] for run in text.runs_of(result, method)])


def memory(slices: list[Record]) -> str:
    known = [each["memory"] for each in slices if each["memory"] is not None]
    return f"{max(known):.0f}" if known else "-"


def render(result: Record) -> str:
    native, rows = curves(result, NATIVE), []
    stock = [each["step_seconds"] for run in text.runs_of(result, STOCK) for each in run["slices"]]
    for method in text.methods(result):
        slices = [each for run in text.runs_of(result, method) for each in run["slices"]]
        seconds = [each["step_seconds"] for each in slices]
        ratios = sorted(own / other for own, other in zip(seconds, stock, strict=True))
        q1, median, q3 = statistics.quantiles(ratios, n=4, method="inclusive")
        apart = np.abs(curves(result, method) - native)
        first = apart[:, : max(1, apart.shape[1] // 10)]
        rows.append(
            [
                method,
                time_text(statistics.median(seconds)),
                "1" if method == STOCK else f"{median:.2f} ({q1:.2f} to {q3:.2f})",
                memory(slices),
                "-" if method == NATIVE else f"{first.max():.1e}",
                "-" if method == NATIVE else f"{apart.max():.1e}",
            ]
        )
    header = ["penalty", "time of a step", "time / stock", "peak MiB that training adds"]
    header += ["largest difference of the critic's loss, first tenth", "all steps"]
    steps = native.shape[1]
    scale = float(np.abs(native).mean())
    said = (
        f"{steps} steps each, a step with its critic steps; the slices take turns. The critic's loss is {scale:.2g} on "
        f"average, by its size; the differences are to native, over all seeds."
    )
    picture = text.picture(result, "curves", "the critic's loss by three penalties, and the differences")
    return text.joined(text.about(result, seconds=False), said, markdown(header, rows), picture)


def figures(result: Record, folder: Path) -> None:
    plots.same_curves(
        {method: curves(result, method) for method in text.methods(result)},
        NATIVE,
        folder / f"{text.stem(result)}-curves.png",
    )


TABLE = Table(
    name="penalty",
    data="fashion",
    smoke_data="digits",
    methods={
        STOCK: {"preset": "wgan-gp"},
        "reference": {"preset": "wgan-gp", "impl": "reference"},
        NATIVE: {"preset": "wgan-gp", "impl": "native"},
    },
    seeds=3,
    seconds=120,
    slices=5,
    steps=150,
    tick=1,
    prepare=prepare,
    text=render,
    figures=figures,
)
