"""The penalty's gradient without double backward.

With g_i = grad f(x_i), n_i = |g_i|, u_i = g_i / n_i and c_i = d penalty / d n_i, the penalty's gradient with respect to
the parameters is that of sum_i c_i u_i . grad f(x_i) with c and u held fixed, and that of

    S = sum_i c_i (f(x_i + e_i u_i) - f(x_i - e_i u_i)) / (2 e_i)

up to O(e^2): one ordinary backward for g, two ordinary forwards, and the caller's own backward. Relatives: arXiv
1905.11468, 2210.02720, and the approximate R1 of arXiv 2501.08316.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gpgan.ops._checks import accumulate_dtype
from gpgan.penalty import graph
from gpgan.penalty.checks import is_compiled
from gpgan.penalty.kinks import Kinks
from gpgan.penalty.modules import reachable
from gpgan.penalty.request import Request
from gpgan.torch_private import OPAQUE_NODES, REENTRANT_NODE, watch
from gpgan.util.warn import warn_once

# e_i = STEP * eps^(1/3) * |x_i|: rounding errs by eps / e and the difference by e^2. Measured over the critics of
# tests/test_finite_difference.py in float64, float32 and bfloat16: half of it rounds more, twice of it bends more.
STEP = 0.1
TF32_EPS = 2.0**-10
# What a compiled critic shows of its activations.
KINKED = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ReLU6, nn.Hardtanh, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


class FiniteDifference:
    """One penalty by finite differences; a call gives it and the norms."""

    def __init__(self, request: Request) -> None:
        x = request.x
        if x.is_cuda and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                'method="finite_difference" repeats the random state of the device, which a CUDA graph under capture '
                'does not allow; call it outside of the capture, or pass method="exact"'
            )
        self.request, self.run, self.x = request, request.run, x
        found = list(reachable(request.critic))
        self.modules = [thing for thing in found if isinstance(thing, nn.Module)]
        # The state of these is the same in all forwards.
        self.state = _State(self.modules, x.device)
        self.parallel = _parallel(self.modules)
        # A compiled critic runs as it is: what is inside of its graph cannot be held.
        self.kinks = None if any(is_compiled(thing) for thing in found) else Kinks()

    def __call__(self) -> tuple[Tensor, Tensor]:
        with _no_sync(self.parallel), contextlib.nullcontext() if self.kinks is None else self.kinks.recording():
            scores = self.run(self.x)
        if self._may_cross_kinks():
            warn_once(
                "gradient_penalty by finite differences cannot hold piecewise-linear activations at their kinks inside of "
                "torch.compile or torch.utils.checkpoint: a difference that crosses kinks has an error as large as the "
                'gradient. Use smooth activations there, or method="exact"'
            )
        behind = self.request.graph_behind(scores)
        kinds = graph.kinds(behind)
        reentrant = REENTRANT_NODE in kinds

        def differentiate(seed: Tensor) -> Tensor | None:
            if reentrant:
                return self._full_backward(seed, graph.leaves(behind))
            with self.state.unchanged():
                return torch.autograd.grad(scores, self.x, seed, allow_unused=True)[0]

        grads = self.request.input_gradient(scores, differentiate)
        penalty, norms = self.request.value(grads)
        surrogate = self._surrogate(grads, norms, _epsilon(self.x, scores, kinds), reentrant)
        return _WithGradientOf.apply(penalty, surrogate if penalty.dim() else surrogate.sum()), norms

    def _may_cross_kinks(self) -> bool:
        """Whether activations were seen whose kinks are not held."""
        if self.kinks is not None:
            return self.kinks.free
        return any(isinstance(inner, KINKED) for module in self.modules for inner in module.modules())

    def _full_backward(self, seed: Tensor, leaves: list[Tensor]) -> Tensor | None:
        """The same where autograd.grad is not allowed: by a backward that finds no parameter to give a gradient to."""
        if not self.modules:
            raise RuntimeError(
                'critic uses torch.utils.checkpoint with use_reentrant=True, and method="finite_difference" finds no '
                "nn.Module in it whose parameters it must hold fixed; pass the module itself as critic, or "
                "use_reentrant=False to checkpoint"
            )
        parameters = [parameter for module in self.modules for parameter in module.parameters()]
        with _held_fixed([tensor for tensor in (*parameters, *leaves) if tensor is not self.x]):
            self.state.restore()
            with _no_sync(self.parallel):
                scores = self.run(self.x)
            # retain_graph: the critic's arguments may have a graph, which the caller still needs.
            with self.state.unchanged():
                torch.autograd.backward(scores, seed, retain_graph=True)
        grads, self.x.grad = self.x.grad, None
        return grads

    def _surrogate(self, grads: Tensor, norms: Tensor, eps: float, reentrant: bool) -> Tensor:
        """The terms of S ``[B]``.

        Args:
            grads: g ``[B, ...]``.
            norms: n ``[B]``.
            eps: Of what the critic computes with.
            reentrant: Whether there is a reentrant checkpoint in it.
        """
        leaf = norms.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(self.request.value(leaf.unsqueeze(1))[0].sum(), leaf)
        steps = self._steps(eps)
        if self.request.coupled:
            # A sample's score depends on all samples: one difference along one direction of the whole batch.
            largest = slopes.abs().amax()
            step = steps.mean() / largest.where(largest != 0, 1)
            lengths, weights = slopes * step, (0.5 / step).expand_as(slopes)
        else:
            lengths, weights = steps, slopes / (2 * steps)
        # The subgradient 0 where the gradient is.
        lengths = torch.where(norms == 0, 0, lengths / norms)
        shift = grads * lengths.view(-1, *[1] * (grads.dim() - 1))
        plus, minus = (self._scores_at(self.x.detach() + shift * sign, reentrant) for sign in (1, -1))
        return weights * (plus - minus)

    def _scores_at(self, points: Tensor, reentrant: bool) -> Tensor:
        """The scores ``[B]``, summed over a sample, with everything else as it was at x."""
        # Where nothing that comes in requires grad, a reentrant checkpoint gives no gradient to what is inside.
        points = points.to(self.x.dtype).requires_grad_(reentrant)
        self.state.restore()
        with contextlib.nullcontext() if self.kinks is None else self.kinks.replaying():
            scores = self.run(points)
        return scores.to(accumulate_dtype(scores.dtype)).unsqueeze(-1).flatten(1).sum(1)

    def _steps(self, eps: float) -> Tensor:
        """e ``[B]``. Not less than for a sample of average norm: what a score is rounded to does not shrink with x."""
        x = self.x.detach().unsqueeze(-1)
        sizes = torch.linalg.vector_norm(x, dim=list(range(1, x.dim())), dtype=accumulate_dtype(x.dtype))
        sizes = torch.maximum(sizes, sizes.mean())
        factor: float = STEP * eps ** (1 / 3)
        return factor * sizes.where(sizes != 0, 1)


class _WithGradientOf(torch.autograd.Function):
    """The first argument, with the gradient of the second."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, surrogate: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad


class _State:
    """What a forward changes beside its result, as it is now: random generators and buffers."""

    def __init__(self, modules: list[nn.Module], device: torch.device) -> None:
        buffers = [b for module in modules for b in module.buffers() if not b.is_inference()]
        self.buffers = [(buffer, buffer.detach().clone()) for buffer in buffers]
        self.random = torch.get_rng_state()
        self.device = None if device.type == "cpu" else device
        if self.device is not None:
            self.device_random = torch.get_device_module(device).get_rng_state(device)

    def restore(self) -> None:
        torch.set_rng_state(self.random)
        if self.device is not None:
            torch.get_device_module(self.device).set_rng_state(self.device_random, self.device)
        for buffer, before in self.buffers:
            buffer.data.copy_(before)  # data: those that did not change may have been saved for a backward

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Raises where a backward changes a buffer: one that changes weights would make the two scores differ by more
        than their points, divided by a small step."""
        changed = watch([buffer for buffer, _ in self.buffers])
        yield
        if changed():
            raise RuntimeError(
                "critic changes its buffers when a checkpoint runs a part of it again (spectral_norm in training mode "
                'does): method="finite_difference" would be wrong by far. Take the changing layers out of '
                'torch.utils.checkpoint, or call eval() on them, or pass method="exact"'
            )


def _parallel(modules: list[nn.Module]) -> list[DistributedDataParallel]:
    if not (dist.is_available() and dist.is_initialized()):
        return []
    parallel = [m for module in modules for m in module.modules() if isinstance(m, DistributedDataParallel)]
    if any(module.static_graph for module in parallel):
        raise ValueError(
            'critic is wrapped in DistributedDataParallel with static_graph=True, and method="finite_difference" runs a '
            "backward of its own that the others are not like; expected static_graph=False"
        )
    return parallel


@contextlib.contextmanager
def _no_sync(parallel: list[DistributedDataParallel]) -> Iterator[None]:
    """Without the preparations for a backward that reduces gradients."""
    with contextlib.ExitStack() as stack:
        for module in parallel:
            stack.enter_context(module.no_sync())
        yield


@contextlib.contextmanager
def _held_fixed(leaves: Iterable[Tensor]) -> Iterator[None]:
    """Without requires_grad, so that a backward leaves no gradient there."""
    free = [leaf for leaf in leaves if leaf.requires_grad]
    try:
        for leaf in free:
            leaf.requires_grad_(False)
        yield
    finally:
        for leaf in free:
            leaf.requires_grad_(True)


def _epsilon(x: Tensor, scores: Tensor, kinds: set[str]) -> float:
    """What the critic computes with: the coarsest of its input's, its scores' and autocast's dtype, and TF32 where on.

    Args:
        kinds: Of the nodes behind the scores.
    """
    device = x.device.type
    dtypes = {x.dtype, scores.dtype}
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        dtypes.add(torch.get_autocast_dtype(device))
    eps = max(torch.finfo(dtype).eps for dtype in dtypes)
    if x.is_cuda and x.dtype != torch.float64:
        used: list[Any] = [torch.backends.cuda.matmul]
        if kinds & {"ConvolutionBackward0", *OPAQUE_NODES}:
            used.append(torch.backends.cudnn.conv)  # type: ignore[attr-defined]
        if kinds & {"CudnnRnnBackward0", *OPAQUE_NODES}:
            used.append(torch.backends.cudnn.rnn)
        if any(library.fp32_precision == "tf32" for library in used):
            eps = max(eps, TF32_EPS)
    return eps
