"""The optimizer's part of a critic step: averages and clips gradients, updates, clips weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gpgan.penalty.modules import reachable
from gpgan.torch_private import clamp_all
from gpgan.util.warn import warn_once


def check_step(optimizer: torch.optim.Optimizer) -> None:
    """Raises if the optimizer's step has an argument without default, such as LBFGS's closure."""
    # Of the class: on the object, a learning rate scheduler puts a wrapper of another signature.
    _, *arguments = inspect.signature(type(optimizer).step).parameters.values()
    single = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    needed = [each.name for each in arguments if each.default is each.empty and each.kind in single]
    if needed:
        raise TypeError(
            f"optimizer is a {type(optimizer).__name__}, whose step() requires {' and '.join(needed)}; CriticStep computes each "
            "gradient once and calls step() without arguments; expected an optimizer such as torch.optim.Adam"
        )


def check_holds(optimizer: torch.optim.Optimizer, critic: Any, learned: Sequence[Tensor]) -> None:
    """Raises if the optimizer holds no parameter of the critic, and warns if it holds only some.

    Args:
        learned: The leaves that the critic's scores depend on. FSDP computes with stand-ins for the parameters.
    """
    modules = (thing for thing in reachable(critic) if isinstance(thing, nn.Module))
    own = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
    expected = [leaf for leaf in learned if id(leaf) in own] or list(own.values()) or learned
    held = identities(optimizer)
    count = sum(id(parameter) in held for parameter in expected)
    tensors = f"of the critic's {len(expected)} parameter tensors that require grad"
    if not count:
        raise ValueError(
            f"optimizer holds none {tensors}, so the critic would never change; expected the critic's own optimizer, e.g. "
            "torch.optim.Adam(critic.parameters())"
        )
    if count < len(expected):
        warn_once(
            f"CriticStep's optimizer holds {count} {tensors} and updates only these. Pass it the others too, update them with "
            "another optimizer after each step, or freeze them by requires_grad_(False)"
        )


def identities(optimizer: torch.optim.Optimizer) -> set[int]:
    """The ids of the parameters that the optimizer holds."""
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def update(
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float | None = None,
    scaler: torch.amp.GradScaler | None = None,
    max_weight: float | None = None,
) -> None:
    """Steps the optimizer, through the scaler if given.

    Args:
        max_grad_norm: Before the step, clips the joint norm of all gradients.
        max_weight: After the step, clamps the weights, even if the scaler skipped the step.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if max_grad_norm is not None:
        if scaler is not None:
            scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
    if max_weight is not None:
        clip_weights(parameters, max_weight)


def choose_fused(optimizer: torch.optim.Optimizer) -> None:
    """Switches Adam and AdamW to the fused implementation, a single call, unless the user has chosen one."""
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or optimizer.state:
        return
    for group in optimizer.param_groups:
        free = group["fused"] is None and group["foreach"] is None and not group["differentiable"]
        if free and all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in group["params"]):
            group["fused"] = True


def average_gradients(optimizer: torch.optim.Optimizer, group: dist.ProcessGroup) -> None:
    """Averages the gradients over the processes, in one transfer per dtype."""
    gradients = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    for dtype in {gradient.dtype for gradient in gradients}:
        same = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = torch.cat([gradient.reshape(-1) for gradient in same])
        dist.all_reduce(flat, group=group)
        flat /= dist.get_world_size(group)
        for gradient, part in zip(same, torch.split(flat, [g.numel() for g in same]), strict=True):
            gradient.copy_(part.view_as(gradient))


def check_limit(name: str, value: float) -> None:
    """Raises unless value is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a number above 0")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; expected a finite number above 0")


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], limit: float) -> None:
    """Clamps every element of the parameters to [-limit, limit], in place. NaN stays NaN.

    ``CriticStep(max_weight=limit)`` does this after each update. It bounds the slope only loosely; its authors call it
    clearly terrible.

    Raises:
        TypeError, ValueError: limit is not a finite number above 0.

    Source:
        Arjovsky, Chintala and Bottou, Wasserstein GAN, arXiv 1701.07875, algorithm 1 (limit 0.01).
    """
    check_limit("limit", limit)
    tensors = list(parameters)
    if tensors:
        clamp_all(tensors, limit)
