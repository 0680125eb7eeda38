"""Counts operations, operator calls, kernel launches and peak memory of a step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

Call = Callable[[], Any]

LOOK = "peak_memory looks"  # an event's name
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")  # and with a suffix, as in cudaLaunchKernelExC


def _pointwise_linear(x: Sequence[int], weight: Sequence[int], *args: Any, **kwargs: Any) -> int:
    """oneDNN's x [..., in] times weight [out, in] transposed, whatever is fused after it."""
    return 2 * math.prod(x[:-1]) * weight[0] * weight[1]


def _formulas() -> dict[Any, Callable[..., int]]:
    custom: dict[Any, Callable[..., int]] = {}
    if torch.backends.mkldnn.is_available():
        custom[torch.ops.mkldnn._linear_pointwise] = _pointwise_linear
    return dict(FlopCounterMode(display=False, custom_mapping=custom).flop_registry)


class OperatorCounter(TorchDispatchMode):
    """Counts operator calls and, by FlopCounterMode's formulas, the operations in their matrix products and convolutions.

    FlopCounterMode itself cannot be used: its module tracker does not allow autograd.grad to a leaf, and torch.compile does
    not run under a mode that is not declared as infrastructure.
    """

    @classmethod
    def is_infra_mode(cls) -> bool:
        return True

    def __init__(self) -> None:
        super().__init__()
        self.formulas = _formulas()
        self.calls: Counter[str] = Counter()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = self.formulas.get(func._overloadpacket)
        if formula is None:  # under inference_mode composite operators are not decomposed
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        self.calls[func._schema.name] += 1
        if formula is not None:
            self.operations += formula(*args, **kwargs, out_val=result)
        return result

    def unknown(self) -> list[str]:
        """Operators of other libraries without a formula: a product inside one would be missing from the count."""
        known = {
            packet._qualified_op_name for packet in self.formulas if isinstance(packet, torch._ops.OpOverloadPacket)
        }
        return sorted(
            name for name in self.calls if not name.startswith(("aten::", "profiler::")) and name not in known
        )


def count(call: Call) -> OperatorCounter:
    with OperatorCounter() as counter:
        call()
    return counter


@contextmanager
def compiled_operations() -> Iterator[list[int]]:
    """The operations of each graph that Inductor compiles in this context, by the same formulas. Inductor's C++ calls products
    and convolutions without the dispatcher, so OperatorCounter does not see them."""
    from torch._inductor import config

    formulas = _formulas()
    graphs: list[int] = []

    def count_graph(graph: torch.fx.Graph) -> None:
        graphs.append(0)
        for node in graph.nodes:
            formula = formulas.get(getattr(node.target, "_overloadpacket", None))
            if formula is not None:
                args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda value: value.meta["val"])
                graphs[-1] += int(formula(*args, **kwargs, out_val=node.meta["val"]))

    with config.patch(post_grad_custom_pre_pass=count_graph):
        yield graphs


@dataclass
class Peak:
    device: str
    bytes: int = 0

    def look(self) -> None:
        """Starts looking. Memory allocated earlier in the context counts if it is still alive."""
        if self.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            with torch.profiler.record_function(LOOK):
                pass


@contextmanager
def peak_memory(device: str) -> Iterator[Peak]:
    """The most bytes of tensors alive at once after ``look``, beyond those alive at the start of the context.

    On a CPU this sums every allocation and release that torch's allocator reports to the profiler. It is exact for tensors
    and for scratch memory from that allocator, and does not see what a library takes from malloc directly.
    """
    peak = Peak(device)
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated() - before
        return
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        yield peak
    alive, looking = 0, False
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() in ("[memory]", LOOK)]
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == LOOK:
            looking = True
        else:
            alive += event.nbytes()
        if looking:
            peak.bytes = max(peak.bytes, alive)


def cuda_launches(call: Call) -> dict[str, int]:
    """Kernels run on the device, and launches by the host: one for a captured graph."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        call()
        torch.cuda.synchronize()
    counts = {"kernels": 0, "launches": 0}
    for event in profiled.profiler.kineto_results.events():
        on_device = event.device_type() == torch.autograd.DeviceType.CUDA
        if on_device and not event.name().startswith(("Memcpy", "Memset")):
            counts["kernels"] += 1
        elif not on_device and event.name().startswith(LAUNCHES):
            counts["launches"] += 1
    return counts


def bytes_of(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
