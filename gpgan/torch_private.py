"""Every private name of torch that gpgan uses, behind one function each.

torch may rename or drop such a name in any release. Each function says what happens then: gpgan does more work, takes the
path for any critic, refuses, or warns. It is never silently wrong, and ``import gpgan`` does not fail.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Function = TypeVar("Function", bound=Callable[..., Any])

# --- torch.compile


def outside_of_compiled_graphs(function: Function) -> Function:
    """The function, which a compiled caller leaves its graph for: double backward cannot be compiled.

    Absent: ``torch.compiler.disable``, which does the same and imports all of torch.compile with gpgan.
    """
    try:
        from torch._compile import _disable_dynamo as disable
    except ImportError:
        disable = torch.compiler.disable
    return disable(function)  # type: ignore[return-value]


def constant_in_compiled_graphs(function: Function) -> Function:
    """The function, which a compiled caller calls once, while it is traced.

    ``torch.compiler.assume_constant_result`` does the same and imports all of torch.compile. A torch that does not know
    the mark traces the function or leaves the graph for it.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def is_compiled_itself(callable: Any) -> bool:
    """Whether a callable is the result of torch.compile; of a module only whether it is, not whether one in it is.

    Absent: every module is said to be compiled once torch.compile has been imported. Such critics take the path for any
    critic, and finite differences warn of kinks.
    """
    if not isinstance(callable, nn.Module):
        code = getattr(callable, "__code__", None)
        return hasattr(callable, "_torchdynamo_orig_callable") or "_dynamo" in getattr(code, "co_filename", "")
    # Nothing is compiled, and no such class exists, before torch.compile's package is imported.
    if "torch._dynamo" not in sys.modules:
        return False
    if type(callable).__module__.startswith("torch._dynamo"):
        return True
    return getattr(callable, "_compiled_call_impl", callable) is not None


def compile_by_inductor(function: Callable[..., Any], example: Tensor, options: dict[str, Any]) -> Callable[..., Any]:
    """The function of one tensor, traced on a copy of an example and compiled, without the guards of torch.compile.

    Absent: ImportError or AttributeError, upon which the step is not compiled and says so.
    """
    # Slow to import, and rarely needed.
    import torch._inductor as inductor
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(function, tracing_mode="real")(example.clone())
    program: Callable[..., Any] = inductor.compile(graph, [example.clone()], options=options)
    return program


# --- what autograd is doing


def engine_needs(node: Any) -> bool:
    """Within a backward: whether the engine has a use for the gradient that flows to a node.

    Absent: True. Gradients are computed that nobody asked for.
    """
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except (AttributeError, TypeError):
        return True


def in_checkpoint() -> bool:
    """Whether a non-reentrant torch.utils.checkpoint is running its function.

    Absent: True. Nothing is pruned, and finite differences hold no kinks and say so.
    """
    try:
        hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
        return hooks is not None and hooks[0].__module__ == "torch.utils.checkpoint"
    except (AttributeError, TypeError):
        return True


def transformed() -> bool:
    """Whether a functorch transform (vmap, grad) or forward-mode differentiation is at work beside autograd.

    Absent: True. Nothing is pruned.
    """
    try:
        return forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None
    except (AttributeError, TypeError):
        return True


@functools.cache
def grad_mode_functions() -> frozenset[Any]:
    """What a TorchFunctionMode sees where grad mode is switched, found by switching it.

    Nothing seen: empty. Then no critic is scheduled, as a part of it under no_grad would go unnoticed.
    """
    seen: list[Any] = []

    class Seen(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Seen(), torch.no_grad(), torch.enable_grad():
        pass
    return frozenset(seen)


def functions_of_form() -> frozenset[Any]:
    """Functions of tensors that ask for their form (shape, dtype) and never for their numbers.

    Absent: none. More critics take the path for any critic.
    """
    try:
        from torch.overrides import get_default_nowrap_functions
    except ImportError:
        return frozenset()
    return frozenset(get_default_nowrap_functions())


def nn_operators(*names: str) -> tuple[Any, ...]:
    """Operators under ``torch._C._nn``, which torch.nn.functional calls and TorchScript and some scripts call directly.

    Absent: left out. What is not there is not called.
    """
    module = getattr(torch._C, "_nn", None)
    return tuple(getattr(module, name) for name in names if hasattr(module, name))


# --- the autograd graph


@functools.cache
def _leaf_kind() -> type:
    return type(torch.autograd.graph.get_gradient_edge(torch.zeros((), device="cpu", requires_grad=True)).node)


def leaf_of(node: Any) -> Tensor | None:
    """The leaf tensor that a node adds gradients to; None for a node of an operator."""
    leaf: Tensor | None = node.variable if isinstance(node, _leaf_kind()) else None  # type: ignore[attr-defined]
    return leaf


def is_once_differentiable(node: Any) -> bool | None:
    """Whether an autograd.Function's node has a backward that is marked ``once_differentiable``.

    Absent: None, upon which the penalty warns.
    """
    return _is_marked(node) if _marks_are_seen() else None


def _is_marked(node: Any) -> bool:
    forward = getattr(node, "_forward_cls", None)
    return getattr(getattr(forward, "backward", None), "__code__", None) is _MARK


# The code that is the same in every function that once_differentiable has wrapped.
_MARK = getattr(once_differentiable(lambda ctx, *grads: None), "__code__", None)


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _Once(_Plain):
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


@functools.cache
def _marks_are_seen() -> bool:
    with torch.enable_grad():
        x = torch.zeros((), device="cpu", requires_grad=True)
        once, plain = (function.apply(x).grad_fn for function in (_Once, _Plain))
    return _MARK is not None and _is_marked(once) and not _is_marked(plain)


def function_name(node: Any) -> str:
    """The name of the autograd.Function that a node belongs to. Absent: that of the node."""
    return str(getattr(getattr(node, "_forward_cls", type(node)), "__qualname__", "an autograd.Function"))


def run_without_gradients(node: Any) -> None:
    """Runs a node whose only deed is to raise. Absent: nothing runs."""
    count = len(getattr(node, "_input_metadata", ()))
    if count:
        node(*[None] * count)


# Autograd's nodes of a batch_norm. All but the last save whether they took the statistics of the batch; it always does.
SYNC_BATCH_NORM_NODE = "SyncBatchNormBackward"
BATCH_NORM_NODES = frozenset(
    {"NativeBatchNormBackward0", "CudnnBatchNormBackward0", "MiopenBatchNormBackward0", SYNC_BATCH_NORM_NODE}
)
# Nodes that hide what ran inside of them: a reentrant checkpoint, and a compiled graph.
REENTRANT_NODE = "CheckpointFunctionBackward"
OPAQUE_NODES = frozenset({REENTRANT_NODE, "CompiledFunctionBackward"})


@functools.cache
def batch_norm_shows() -> bool:
    """Whether the graph shows a batch_norm in training mode, and a reentrant checkpoint, under the names above.

    Where not, calls of batch_norm are watched, and a critic with a BatchNorm in training mode is refused.
    """
    from torch.utils.checkpoint import checkpoint

    with torch.enable_grad():
        x = torch.zeros(2, 1, device="cpu", requires_grad=True)
        norm = F.batch_norm(x, None, None, training=True).grad_fn
        opaque = checkpoint(torch.neg, x, use_reentrant=True, preserve_rng_state=False).grad_fn
    return (
        type(norm).__name__ in BATCH_NORM_NODES
        and _saved_training(norm) is True
        and _rows(norm) == 2
        and type(opaque).__name__ == REENTRANT_NODE
    )


def takes_batch_statistics(node: Any) -> bool:
    """Whether a batch_norm's node took its statistics over several samples. Absent: True, upon which it is refused."""
    if type(node).__name__ == SYNC_BATCH_NORM_NODE:
        return True
    # InstanceNorm is a batch_norm too, of one sample that holds all samples' channels.
    return _saved_training(node) is not False and _rows(node) != 1


def _saved_training(node: Any) -> bool | None:
    return getattr(node, "_saved_training", None)


def _rows(node: Any) -> int | None:
    # The shape is asked of the graph's edge: a saved tensor may have to be recomputed or fetched.
    metadata = getattr(node, "_input_metadata", None)
    return int(metadata[0].shape[0]) if metadata else None


# --- tensors and modules


def version(tensor: Tensor) -> int | None:
    """How often a tensor was changed in place. Absent: None, upon which the critic is not scheduled."""
    return getattr(tensor, "_version", None)


def watch(tensors: Iterable[Tensor]) -> Callable[[], bool]:
    """A function that says whether any of the tensors was changed in place since. Absent: by comparing with copies."""
    tensors = list(tensors)
    versions = [version(tensor) for tensor in tensors]
    if None not in versions:
        return lambda: versions != [version(tensor) for tensor in tensors]
    copies = [tensor.detach().clone() for tensor in tensors]
    return lambda: not all(map(torch.equal, tensors, copies))


def has_gradient_hooks(parameter: Tensor) -> bool:
    """Whether a hook waits for a parameter's gradient. Absent: True, the path for any critic with one backward."""
    try:
        return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)
    except AttributeError:
        return True


def has_backward_hooks(module: nn.Module) -> bool:
    """Whether a module itself waits for gradients to pass through it. Absent: True, the path for any critic."""
    try:
        return bool(module._backward_hooks or module._backward_pre_hooks)
    except AttributeError:
        return True


def submodules(module: nn.Module) -> Iterable[nn.Module | None]:
    """Those directly inside of a module. Absent: ``children()``, which takes ten times as long."""
    try:
        return module._modules.values()
    except AttributeError:
        return module.children()


def forward_pre_hooks(module: nn.Module) -> list[Any]:
    """Absent: none; ``nn.utils.spectral_norm`` is then known by the parameters that it leaves."""
    return list(getattr(module, "_forward_pre_hooks", {}).values())


@functools.cache
def batch_norms() -> tuple[type[nn.Module], ...]:
    """The classes of batch norm modules. Absent: the public ones; a user's own must be derived from these."""
    try:
        from torch.nn.modules.batchnorm import _BatchNorm
    except ImportError:
        return nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    return (_BatchNorm,)


@functools.cache
def spectral_parametrization() -> type[nn.Module]:
    """The class by which ``torch.nn.utils.parametrizations.spectral_norm`` computes a weight, found by using it."""
    from torch.nn.utils import parametrizations

    with torch.random.fork_rng([]):
        layer: Any = parametrizations.spectral_norm(nn.Linear(1, 1, device="cpu"))
    return type(layer.parametrizations.weight[0])


def metadata(state: Any) -> Any:
    """The versions of modules that a ``state_dict`` carries beside its tensors. Absent: None."""
    return getattr(state, "_metadata", None)


# --- operators


@functools.cache
def onednn_product() -> Callable[[Tensor, Tensor, Tensor | None], Tensor] | None:
    """From a ``[n, k]``, b ``[k, m]`` and a row ``[m]`` or None to a b + row, by oneDNN. Absent: None, for torch.mm."""

    def product(a: Tensor, b: Tensor, row: Tensor | None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), row, "none", [], "")  # type: ignore[no-any-return]

    # hasattr would not see another signature.
    a, b, row = (torch.ones(shape, device="cpu") for shape in ((2, 3), (3, 2), (2,)))
    with contextlib.suppress(Exception), torch.no_grad():
        if (product(a, b, row) == 4).all() and (product(a, b, None) == 3).all():
            return product
    return None


def clamp_all(tensors: list[Tensor], limit: float) -> None:
    """Clamps tensors to [-limit, limit] in place, in one call for all. Absent: in one call each."""
    try:
        torch._foreach_clamp_min_(tensors, -limit)
        torch._foreach_clamp_max_(tensors, limit)
    except AttributeError:
        for tensor in tensors:
            tensor.clamp_(-limit, limit)


def lerp_all(tensors: list[Tensor], ends: list[Tensor], weight: float) -> None:
    """Moves tensors by a part of the way to their ends, in place, in one call for all. Absent: in one call each."""
    try:
        torch._foreach_lerp_(tensors, ends, weight)
    except AttributeError:
        for tensor, end in zip(tensors, ends, strict=True):
            tensor.lerp_(end, weight)


def operation_counting() -> tuple[type, Callable[[Any], Callable[..., int] | None]] | None:
    """torch's mode that sees every operator, and from an operator to torch's formula for its floating-point operations.

    Absent: None. Operations are not counted, and the plan says so.
    """
    try:
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils.flop_counter import flop_registry
    except ImportError:
        return None
    return TorchDispatchMode, lambda operator: flop_registry.get(getattr(operator, "_overloadpacket", None))
