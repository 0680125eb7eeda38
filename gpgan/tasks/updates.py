"""The generator's update against a critic, shared by the tasks and the labs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gpgan.critic.optimizer import average_gradients, update
from gpgan.objectives import Objective


def verdict(
    objective: Objective, critic: nn.Module, fake: Tensor, real: Tensor | None, critic_args: Sequence[Tensor] = ()
) -> Tensor:
    """The generator's loss, 0-d, from the critic's scores of ``fake`` and, if the objective is paired, of ``real``."""
    fake_scores = critic(fake, *critic_args)
    return objective.generator_loss(critic(real, *critic_args) if objective.paired else None, fake_scores)


def descend(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    *,
    max_grad_norm: float | None = None,
    scaler: torch.amp.GradScaler | None = None,
    group: dist.ProcessGroup | None = None,
) -> None:
    """One optimizer step on the gradients of a loss, averaged over the processes of a group."""
    optimizer.zero_grad()
    torch.autograd.backward(loss if scaler is None else scaler.scale(loss))
    if group is not None:
        average_gradients(optimizer, group)
    update(optimizer, max_grad_norm, scaler)
