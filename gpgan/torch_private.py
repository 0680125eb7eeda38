"""Every private name of torch that gpgan uses, one function each.

Any release of torch may rename or drop such a name. Each docstring says what happens then, after "Absent": gpgan does
more work, takes the general path, refuses or warns. It is never silently wrong, and ``import gpgan`` does not fail.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
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
    """Decorator: the function runs outside of a compiled caller's graph, as double backward cannot be compiled.

    Absent: ``torch.compiler.disable``, which does the same but imports all of torch.compile with gpgan.
    """
    try:
        from torch._compile import _disable_dynamo as disable
    except ImportError:
        disable = torch.compiler.disable
    return disable(function)  # type: ignore[return-value]


def constant_in_compiled_graphs(function: Function) -> Function:
    """Decorator: a compiled caller calls the function once, while it is traced.

    ``torch.compiler.assume_constant_result`` does the same but imports all of torch.compile. A torch that does not know
    this mark traces the function or runs it outside of the graph.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


_DYNAMO = str(Path(torch.__file__).parent / "_dynamo")


def is_compiled_itself(callable: Any) -> bool:
    """Whether a callable is the result of torch.compile. Modules inside a module are not searched.

    Absent: True for every module once torch.compile has been imported. Critics then take the general path, and finite
    differences warn of kinks.
    """
    if not isinstance(callable, nn.Module):
        file = getattr(getattr(callable, "__code__", None), "co_filename", "")
        return hasattr(callable, "_torchdynamo_orig_callable") or file.startswith(_DYNAMO)
    # Before torch.compile's package is imported, nothing is compiled.
    if "torch._dynamo" not in sys.modules:
        return False
    if type(callable).__module__.startswith("torch._dynamo"):
        return True
    return getattr(callable, "_compiled_call_impl", callable) is not None


def compile_by_inductor(function: Callable[..., Any], example: Tensor, options: dict[str, Any]) -> Callable[..., Any]:
    """Traces a function of one tensor on a copy of an example and compiles it, without the guards of torch.compile.

    Absent: ImportError or AttributeError. The step then runs uncompiled, and the plan says so.
    """
    # Slow to import, and rarely needed.
    import torch._inductor as inductor
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(function, tracing_mode="real")(example.clone())
    program: Callable[..., Any] = inductor.compile(graph, [example.clone()], options=options)
    return program


# --- what autograd is doing


def engine_needs(node: Any) -> bool:
    """During a backward: whether the engine needs the gradient that flows to a node.

    Absent: True. Some gradients are computed and discarded.
    """
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except (AttributeError, TypeError):
        return True


def in_checkpoint() -> bool:
    """Whether a non-reentrant torch.utils.checkpoint is running its function.

    Absent: True. Nothing is pruned; finite differences do not hold kinks, and warn.
    """
    try:
        hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
        return hooks is not None and hooks[0].__module__ == "torch.utils.checkpoint"
    except (AttributeError, TypeError):
        return True


def transformed() -> bool:
    """Whether a functorch transform (vmap, grad) or forward-mode differentiation is active.

    Absent: True. Nothing is pruned.
    """
    try:
        return forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None
    except (AttributeError, TypeError):
        return True


def under_torch_func() -> bool:
    """Whether a functorch transform is active.

    Absent: False. The penalty then raises torch's own error.
    """
    try:
        return torch._C._functorch.peek_interpreter_stack() is not None
    except (AttributeError, TypeError):
        return False


@functools.cache
def grad_mode_functions() -> frozenset[Any]:
    """The functions that a TorchFunctionMode sees when grad mode is switched, found by switching it.

    Absent: none. No critic is scheduled, as a part of it under no_grad would go unnoticed.
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
    """Functions that read a tensor's form (shape, dtype, ...) but never its numbers.

    Absent: none. More critics take the general path.
    """
    try:
        from torch.overrides import get_default_nowrap_functions
    except ImportError:
        return frozenset()
    return frozenset(get_default_nowrap_functions())


def nn_operators(*names: str) -> tuple[Any, ...]:
    """Operators under ``torch._C._nn``, which torch.nn.functional calls, and some scripts directly.

    Absent: left out. An operator that does not exist cannot be called.
    """
    module = getattr(torch._C, "_nn", None)
    return tuple(getattr(module, name) for name in names if hasattr(module, name))


# --- the autograd graph


@functools.cache
def _leaf_kind() -> type:
    return type(torch.autograd.graph.get_gradient_edge(torch.zeros((), device="cpu", requires_grad=True)).node)


def leaf_of(node: Any) -> Tensor | None:
    """The leaf tensor that a node accumulates gradients in; None for an operator's node."""
    leaf: Tensor | None = node.variable if isinstance(node, _leaf_kind()) else None  # type: ignore[attr-defined]
    return leaf


def is_once_differentiable(node: Any) -> bool | None:
    """Whether an autograd.Function's node has a backward that is marked ``once_differentiable``.

    Absent: None. The penalty then warns.
    """
    return _is_marked(node) if _marks_are_seen() else None


def _is_marked(node: Any) -> bool:
    forward = getattr(node, "_forward_cls", None)
    return getattr(getattr(forward, "backward", None), "__code__", None) is _MARK


# All functions that once_differentiable has wrapped share this code object.
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
    """Runs a node that only raises. Absent: does nothing."""
    count = len(getattr(node, "_input_metadata", ()))
    if count:
        node(*[None] * count)


# The node types of batch_norm. All but the last save whether they used batch statistics; the last always does.
SYNC_BATCH_NORM_NODE = "SyncBatchNormBackward"
BATCH_NORM_NODES = frozenset(
    {"NativeBatchNormBackward0", "CudnnBatchNormBackward0", "MiopenBatchNormBackward0", SYNC_BATCH_NORM_NODE}
)
# Node types that hide the operators inside them: of a reentrant checkpoint and of a compiled graph.
REENTRANT_NODE = "CheckpointFunctionBackward"
OPAQUE_NODES = frozenset({REENTRANT_NODE, "CompiledFunctionBackward"})


@functools.cache
def batch_norm_shows() -> bool:
    """Whether the graph shows batch_norm in training mode and reentrant checkpoints under the names above.

    If not, calls of batch_norm are recorded, and a critic with any BatchNorm in training mode is refused.
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
    """Whether a batch_norm node took its statistics over several samples. Absent: True. The critic is refused."""
    if type(node).__name__ == SYNC_BATCH_NORM_NODE:
        return True
    # InstanceNorm is a batch_norm too, of one sample with the channels of all samples.
    return _saved_training(node) is not False and _rows(node) != 1


def _saved_training(node: Any) -> bool | None:
    return getattr(node, "_saved_training", None)


def _rows(node: Any) -> int | None:
    # The shape is read from the node: a saved tensor may have to be recomputed or fetched.
    metadata = getattr(node, "_input_metadata", None)
    return int(metadata[0].shape[0]) if metadata else None


# --- tensors and modules


def version(tensor: Tensor) -> int | None:
    """The number of in-place changes of a tensor. Absent: None. The critic is not scheduled."""
    return getattr(tensor, "_version", None)


def watch(tensors: Iterable[Tensor]) -> Callable[[], bool]:
    """A function that tells whether any of the tensors has changed in place since. Absent: compares with copies."""
    tensors = list(tensors)
    versions = [version(tensor) for tensor in tensors]
    if None not in versions:
        return lambda: versions != [version(tensor) for tensor in tensors]
    copies = [tensor.detach().clone() for tensor in tensors]
    return lambda: not all(map(torch.equal, tensors, copies))


def has_gradient_hooks(parameter: Tensor) -> bool:
    """Whether a parameter has gradient hooks. Absent: True. The critic takes the general path, with one backward."""
    try:
        return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)
    except AttributeError:
        return True


def has_backward_hooks(module: nn.Module) -> bool:
    """Whether a module itself has backward hooks. Absent: True. The critic takes the general path."""
    try:
        return bool(module._backward_hooks or module._backward_pre_hooks)
    except AttributeError:
        return True


def submodules(module: nn.Module) -> Iterable[nn.Module | None]:
    """The modules directly inside a module. Absent: ``children()``, which is slower."""
    try:
        return module._modules.values()
    except AttributeError:
        return module.children()


def forward_pre_hooks(module: nn.Module) -> list[Any]:
    """A module's forward pre-hooks. Absent: none. ``nn.utils.spectral_norm`` is then recognised by its parameters."""
    return list(getattr(module, "_forward_pre_hooks", {}).values())


@functools.cache
def batch_norms() -> tuple[type[nn.Module], ...]:
    """The base classes of all batch norm modules. Absent: the public classes."""
    try:
        from torch.nn.modules.batchnorm import _BatchNorm
    except ImportError:
        return nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    return (_BatchNorm,)


@functools.cache
def spectral_parametrization() -> type[nn.Module]:
    """The class of ``torch.nn.utils.parametrizations.spectral_norm``'s parametrizations, found by applying it."""
    from torch.nn.utils import parametrizations

    with torch.random.fork_rng([]):
        layer: Any = parametrizations.spectral_norm(nn.Linear(1, 1, device="cpu"))
    return type(layer.parametrizations.weight[0])


def metadata(state: Any) -> Any:
    """The module versions that a ``state_dict`` holds besides its tensors. Absent: None."""
    return getattr(state, "_metadata", None)


# --- operators


@functools.cache
def onednn_product() -> Callable[[Tensor, Tensor, Tensor | None], Tensor] | None:
    """A function of a ``[n, k]``, b ``[k, m]`` and a row ``[m]`` or None that returns a b + row, by oneDNN.

    Absent, or with another signature or result: None. torch.mm is used.
    """

    def product(a: Tensor, b: Tensor, row: Tensor | None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), row, "none", [], "")  # type: ignore[no-any-return]

    a, b, row = (torch.ones(shape, device="cpu") for shape in ((2, 3), (3, 2), (2,)))
    with contextlib.suppress(Exception), torch.no_grad():
        if (product(a, b, row) == 4).all() and (product(a, b, None) == 3).all():
            return product
    return None


def clamp_all(tensors: list[Tensor], limit: float) -> None:
    """Clamps tensors to [-limit, limit] in place, in one call. Absent: in one call per tensor."""
    try:
        torch._foreach_clamp_min_(tensors, -limit)
        torch._foreach_clamp_max_(tensors, limit)
    except AttributeError:
        for tensor in tensors:
            tensor.clamp_(-limit, limit)


def lerp_all(tensors: list[Tensor], ends: list[Tensor], weight: float) -> None:
    """Interpolates tensors towards their ends in place, in one call. Absent: in one call per tensor."""
    try:
        torch._foreach_lerp_(tensors, ends, weight)
    except AttributeError:
        for tensor, end in zip(tensors, ends, strict=True):
            tensor.lerp_(end, weight)


def operation_counting() -> tuple[type, Callable[[Any], Callable[..., int] | None]] | None:
    """torch's TorchDispatchMode, and a function from an operator to torch's formula for its floating-point operations.

    Absent: None. Operations are not counted, and the plan says so.
    """
    try:
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils.flop_counter import flop_registry
    except ImportError:
        return None
    return TorchDispatchMode, lambda operator: flop_registry.get(getattr(operator, "_overloadpacket", None))


@contextlib.contextmanager
def without_dispatch_modes() -> Iterator[None]:
    """Within the block, no TorchDispatchMode sees the operations.

    Absent: they see them. A count of operations then includes the probe of a critic's first penalty.
    """
    try:
        from torch.utils._python_dispatch import (  # type: ignore[attr-defined]
            _len_torch_dispatch_stack,
            _pop_mode,
            _push_mode,
        )
    except ImportError:
        yield
        return
    modes = [_pop_mode() for _ in range(_len_torch_dispatch_stack())]
    try:
        yield
    finally:
        for mode in reversed(modes):
            _push_mode(mode)
