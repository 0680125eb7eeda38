"""Checks a critic's arguments, scores and independence of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gpgan import torch_private
from gpgan.penalty import graph
from gpgan.penalty.modules import reachable
from gpgan.util.warn import warn_once
from gpgan.util.words import counted


def check_grad_mode(caller: str) -> None:
    """Raises where the critic can have no gradient: grad mode is off, or torch.func differentiates the caller."""
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        mode, cure = (
            ("torch.inference_mode", "call it outside")
            if torch.is_inference_mode_enabled()
            else ("torch.no_grad", "call it outside, or inside torch.enable_grad()")
        )
        raise RuntimeError(f"{caller} was called with grad mode off ({mode}), so the critic has no gradient; {cure}")
    if torch_private.under_torch_func():
        raise RuntimeError(
            f"{caller} was called inside a torch.func transform (grad, vjp, vmap, ...), which its own autograd.grad does not "
            "work in; call it outside, with torch.func.functional_call for the critic if need be, and differentiate the "
            "result by backward() or torch.autograd.grad"
        )


def check_rows(critic_args: Sequence[Any], critic_kwargs: Mapping[str, Any], batch: int) -> None:
    """Raises unless the critic's further arguments are such, and each tensor has one row per sample: others broadcast."""
    if type(critic_args) is tuple and type(critic_kwargs) is dict and not critic_args and not critic_kwargs:
        return
    if not isinstance(critic_args, (tuple, list)):
        raise TypeError(
            f"critic_args is a {type(critic_args).__name__}; expected a tuple of arguments, e.g. critic_args=(labels,)"
        )
    if not isinstance(critic_kwargs, Mapping) or not all(isinstance(name, str) for name in critic_kwargs):
        raise TypeError(
            f"critic_kwargs is {critic_kwargs!r:.60}; expected a dict from names to arguments, e.g. "
            'critic_kwargs={"labels": labels}'
        )
    named = [(f"critic_args[{i}]", value) for i, value in enumerate(critic_args)]
    named += [(f"critic_kwargs[{name!r}]", value) for name, value in critic_kwargs.items()]
    for name, value in named:
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] != batch:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} and would broadcast over a batch of {batch}; expected {batch} rows. "
                "Bind a tensor that all samples share with functools.partial"
            )


def twice(critic_args: Sequence[Any], critic_kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Repeats tensor arguments to match 2B samples."""

    def double(value: Any) -> Any:
        return torch.cat([value, value]) if isinstance(value, Tensor) and value.dim() > 0 else value

    return tuple(map(double, critic_args)), {name: double(value) for name, value in critic_kwargs.items()}


def check_scores(scores: Any, batch: int) -> Tensor:
    """Returns the scores. Raises unless they are a floating point Tensor with one row per sample."""
    if not isinstance(scores, Tensor):
        sequence, mapping = isinstance(scores, (tuple, list)), isinstance(scores, dict)
        how = "out[0]" if sequence else "out['score']" if mapping else "the scores"
        raise TypeError(
            f"critic returned a {type(scores).__name__}; expected a Tensor [B, ...]. Select the scores: wrap the critic "
            f"in a function that returns {how}"
        )
    if scores.layout != torch.strided:
        raise TypeError(f"critic returned layout {scores.layout}; expected dense scores: call to_dense() on them")
    if not scores.dtype.is_floating_point:
        raise TypeError(f"critic returned {scores.dtype}; expected real floating point scores")
    if scores.dim() == 0 and batch == 1:
        raise ValueError(
            "critic returned shape () for 1 sample; expected [1, ...]. squeeze() without a dimension drops the batch as well: "
            "use squeeze(1), or flatten()"
        )
    if scores.dim() == 0 or scores.shape[0] != batch:
        raise ValueError(
            f"critic returned shape {tuple(scores.shape)} for {counted(batch, 'sample')}; expected [{batch}, ...], not averaged or "
            "summed over the batch"
        )
    return scores


def is_compiled(critic: Any) -> bool:
    """Whether a callable, or any module inside it, is the result of torch.compile."""
    # Faster than critic.modules(); this runs on every call.
    waiting: list[Any] = [critic]
    while waiting:
        each = waiting.pop()
        if each is not None:
            if torch_private.is_compiled_itself(each):
                return True
            if isinstance(each, nn.Module):
                waiting.extend(torch_private.submodules(each))
    return False


def warn_if_compiled(critic: Any) -> None:
    """Warns, once, that the compiled form of a critic is not used."""
    if is_compiled(critic):
        warn_once(
            "gradient_penalty runs the module underneath a torch.compile'd critic: a compiled graph has no double "
            "backward (pytorch#91469)"
        )


class BatchNormCalls(TorchFunctionMode):
    """Within the block, records whether batch_norm ran in training mode. Used where the graph does not show it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (F.batch_norm, torch.batch_norm):
            self.seen = self.seen or bool(kwargs.get("training", args[5] if len(args) > 5 else False))
        return func(*args, **kwargs)


def refuse_batch_statistics(critic: Any, behind: list[Any], x: Tensor, calls: BatchNormCalls | None = None) -> None:
    """Raises if batch statistics normalise x on the way to the scores, whichever function computes them.

    Args:
        critic: Searched for modules only if the graph hides what ran.
        behind: The graph nodes that the scores depend on.
        x: The leaf ``[B, ...]`` that the scores were computed from.
        calls: The record of the critic's run, if the graph does not show batch_norm.
    """
    kinds = graph.kinds(behind)
    known = torch_private.BATCH_NORM_NODES
    norms = [node for node in behind if type(node).__name__ in known] if kinds & known else []
    couples = any(
        torch_private.takes_batch_statistics(node)
        and torch.autograd.graph.get_gradient_edge(x).node in graph.nodes(node)
        for node in norms
    )
    if kinds & torch_private.OPAQUE_NODES and x.shape[0] > 1:
        couples = couples or any(_in_use(norm, behind) for norm in _training_norms(critic))
    if calls is not None and x.shape[0] > 1:
        couples = couples or calls.seen or bool(_training_norms(critic))
    if couples:
        raise ValueError(
            "critic has a BatchNorm in training mode, which couples the samples of a batch: a sample's gradient depends "
            "on the other samples. Use LayerNorm, InstanceNorm or GroupNorm, call critic.eval(), or pass "
            "allow_batch_coupling=True"
        )


def _training_norms(critic: Any) -> list[Any]:
    inside = (inner for thing in reachable(critic) if isinstance(thing, nn.Module) for inner in thing.modules())
    norms: list[Any] = [m for m in inside if isinstance(m, torch_private.batch_norms())]
    return [m for m in norms if m.training or m.running_mean is None]


def _in_use(norm: Any, behind: list[Any]) -> bool:
    """Whether a norm may have run. A compiled graph shows its parameters as leaves; a checkpoint hides even those."""
    weight = norm.weight
    if weight is None or not weight.requires_grad or torch_private.REENTRANT_NODE in graph.kinds(behind):
        return True
    return any(leaf is weight for leaf in graph.leaves(behind))
