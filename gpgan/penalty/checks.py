"""What a critic must be and give, checked: its extra arguments, its scores, and that it does not couple its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gpgan.penalty import graph
from gpgan.penalty.modules import reachable
from gpgan.util.warn import warn_once


def check_rows(critic_args: Sequence[Any], critic_kwargs: Mapping[str, Any], batch: int) -> None:
    """Raises where a tensor handed to the critic has not one row a sample, so that it would broadcast."""
    if isinstance(critic_args, Tensor):
        raise TypeError("critic_args is a Tensor; expected a tuple of arguments, e.g. critic_args=(labels,)")
    named = [(f"critic_args[{i}]", value) for i, value in enumerate(critic_args)]
    named += [(f"critic_kwargs[{name!r}]", value) for name, value in critic_kwargs.items()]
    for name, value in named:
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] != batch:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} and would broadcast over a batch of {batch}; expected {batch} rows. "
                "Bind a tensor that all samples share with functools.partial"
            )


def twice(critic_args: Sequence[Any], critic_kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What goes to the critic beside 2B samples, of what goes beside B: tensors with rows have them twice."""

    def double(value: Any) -> Any:
        return torch.cat([value, value]) if isinstance(value, Tensor) and value.dim() > 0 else value

    return tuple(map(double, critic_args)), {name: double(value) for name, value in critic_kwargs.items()}


def check_scores(scores: Any, batch: int) -> Tensor:
    """The scores, which must be a floating point Tensor with one row a sample."""
    if not isinstance(scores, Tensor):
        sequence, mapping = isinstance(scores, (tuple, list)), isinstance(scores, dict)
        how = "out[0]" if sequence else "out['score']" if mapping else "the scores"
        raise TypeError(
            f"critic returned a {type(scores).__name__}; expected a Tensor [B, ...]. Select the scores: wrap the critic "
            f"in a function that returns {how}"
        )
    if not scores.dtype.is_floating_point:
        raise TypeError(f"critic returned {scores.dtype}; expected real floating point scores")
    if scores.dim() == 0 or scores.shape[0] != batch:
        raise ValueError(
            f"critic returned shape {tuple(scores.shape)} for {batch} samples; expected [{batch}, ...], not averaged or "
            "summed over the batch"
        )
    return scores


def is_compiled(critic: Any) -> bool:
    """Whether a callable, or a module in it where it is one, is the result of torch.compile."""
    if not isinstance(critic, nn.Module):
        return hasattr(critic, "_torchdynamo_orig_callable")
    # As any(... for m in critic.modules()), in a tenth of the time: this runs on every call.
    waiting: list[nn.Module | None] = [critic]
    while waiting:
        module = waiting.pop()
        if module is not None:
            if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
                return True
            waiting.extend(module._modules.values())
    return False


def warn_if_compiled(critic: Any) -> None:
    """Says, once, that double backward passes the compiled form of a critic by."""
    if is_compiled(critic):
        warn_once(
            "gradient_penalty runs the module underneath a torch.compile'd critic: a compiled graph has no double "
            "backward (pytorch#91469)"
        )


# Autograd's nodes of a batch_norm. All but the last save whether they took the statistics of the batch; it always does.
SYNC_BATCH_NORM_NODE = "SyncBatchNormBackward"
BATCH_NORM_NODES = frozenset(
    {"NativeBatchNormBackward0", "CudnnBatchNormBackward0", "MiopenBatchNormBackward0", SYNC_BATCH_NORM_NODE}
)


def refuse_batch_statistics(critic: Any, behind: list[Any], x: Tensor) -> None:
    """Raises where x is normalised by the statistics of its batch on the way to scores, whoever called batch_norm.

    Args:
        critic: Looked into only where the graph hides what ran.
        behind: The graph's nodes behind the scores.
        x: ``[B, ...]``, the leaf that the scores were computed from.
    """
    kinds = graph.kinds(behind)
    norms = [node for node in behind if type(node).__name__ in BATCH_NORM_NODES] if kinds & BATCH_NORM_NODES else []
    couples = any(
        _couples(node) and torch.autograd.graph.get_gradient_edge(x).node in graph.nodes(node) for node in norms
    )
    if kinds & graph.OPAQUE and x.shape[0] > 1:
        couples = couples or any(_in_use(norm, behind) for norm in _training_norms(critic))
    if couples:
        raise ValueError(
            "critic has a BatchNorm in training mode: it couples the samples of a batch, so that no sample's "
            "gradient is its own. Use LayerNorm, InstanceNorm or GroupNorm, call critic.eval(), or pass "
            "allow_batch_coupling=True"
        )


def _couples(node: Any) -> bool:
    if type(node).__name__ == SYNC_BATCH_NORM_NODE:
        return True
    # InstanceNorm is a batch_norm too, of one sample that holds all samples' channels. The shape is asked of the graph's
    # edge: a saved tensor may have to be recomputed or fetched.
    return bool(node._saved_training) and node._input_metadata[0].shape[0] > 1


def _training_norms(critic: Any) -> list[_BatchNorm]:
    inside = (inner for thing in reachable(critic) if isinstance(thing, nn.Module) for inner in thing.modules())
    return [m for m in inside if isinstance(m, _BatchNorm) and (m.training or m.running_mean is None)]


def _in_use(norm: _BatchNorm, behind: list[Any]) -> bool:
    """Whether a norm may have run. What is compiled shows its parameters in the graph; a checkpoint hides these too."""
    weight = norm.weight
    if weight is None or not weight.requires_grad or graph.REENTRANT in graph.kinds(behind):
        return True
    return any(leaf is weight for leaf in graph.leaves(behind))
