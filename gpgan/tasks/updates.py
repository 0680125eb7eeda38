"""The generator's update against a critic, shared by the tasks and the labs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gpgan.critic.optimizer import average_gradients, update
from gpgan.objectives import Objective


def verdict(
    objective: Objective, critic: nn.Module, fake: Tensor, real: Tensor | None, critic_args: Sequence[Tensor] = ()
) -> Tensor:
    """The generator's loss, 0-d, from the critic's scores of ``fake`` and, if the objective is paired, of ``real``. The
    critic gets copies, as it may work in place."""
    fake_scores = critic(fake.clone(), *critic_args)
    real_scores = critic(real.clone(), *critic_args) if objective.paired and real is not None else None
    return objective.generator_loss(real_scores, fake_scores)


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


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Continues from the ``state_dict`` of an optimizer with the same settings.

    Raises:
        ValueError: It lacks a tensor that the next step needs, which torch would notice only there.
    """
    needed = _state_after_one_step(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, own in state["state"].items():  # a parameter that never had a gradient has none
        for name, scalar in needed.items():
            shape, value = parameters[index].shape, own.get(name)
            if not isinstance(value, Tensor) or value.shape != (() if scalar else shape):
                raise ValueError(f"an optimizer's {name} does not fit a parameter of shape {tuple(shape)}")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state["state"]})


def _state_after_one_step(optimizer: torch.optim.Optimizer) -> dict[str, bool]:
    """The tensors that such an optimizer keeps for each parameter, and whether each is a single number."""
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.ones(1)
    other = type(optimizer)([parameter], **optimizer.defaults)
    other.step()
    return {name: value.dim() == 0 for name, value in other.state[parameter].items() if isinstance(value, Tensor)}
