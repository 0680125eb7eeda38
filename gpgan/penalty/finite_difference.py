"""The penalty without double backward.

Let g_i = grad f(x_i), n_i = |g_i|, u_i = g_i / n_i and c_i = d penalty / d n_i. The penalty's gradient with respect to
the parameters equals that of sum_i c_i u_i . grad f(x_i) with c and u held fixed, and equals that of

    S = sum_i c_i (f(x_i + e_i u_i) - f(x_i - e_i u_i)) / (2 e_i)

up to O(e^2). This takes one ordinary backward for g, two ordinary forwards, and the caller's own backward. Related
work: arXiv 1905.11468, 2210.02720, and the approximate R1 of arXiv 2501.08316.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
from gpgan.penalty.precision import epsilon
from gpgan.penalty.probe import VANISHING
from gpgan.penalty.request import Request
from gpgan.torch_private import REENTRANT_NODE, watch
from gpgan.util.frozen import frozen
from gpgan.util.warn import warn_once

# e_i = STEP * eps^(1/3) * |x_i|: the rounding error is eps / e, the truncation error e^2. Measured on the critics of
# tests/penalty/test_finite_difference.py in float64, float32 and bfloat16: half the step rounds more, twice
# truncates more.
STEP = 0.1
# The most by which the difference and |g| may differ, relative: this, and less where eps^(1/3) is smaller; beside so many
# rounding errors. Measured on the critics of the same tests: 1e-8 in float64, 0.002 in float32, 0.01 in bfloat16.
DISAGREEMENT, ROUNDINGS = 0.05, 8
# Modules that reveal the kinks of a compiled critic.
KINKED = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ReLU6, nn.Hardtanh, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


class FiniteDifference:
    """One penalty by finite differences. Calling it returns the penalty and the norms."""

    def __init__(self, request: Request) -> None:
        x = request.x
        if x.is_cuda and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                'method="finite_difference" restores the random state of the device, which is not possible while a CUDA '
                'graph is captured; call it outside of the capture, or pass method="exact"'
            )
        self.request, self.run, self.x = request, request.run, x
        found = list(reachable(request.critic))
        self.modules = [thing for thing in found if isinstance(thing, nn.Module)]
        # All forwards start from this state.
        self.state = _State(self.modules, x.device)
        self.parallel = _parallel(self.modules)
        # A compiled critic runs compiled: the kinks inside its graph cannot be held.
        self.kinks = None if any(is_compiled(thing) for thing in found) else Kinks()

    def __call__(self) -> tuple[Tensor, Tensor]:
        with _no_sync(self.parallel), contextlib.nullcontext() if self.kinks is None else self.kinks.recording():
            scores = self._scores_at_x()
        if self._may_cross_kinks():
            warn_once(
                "gradient_penalty by finite differences cannot hold piecewise-linear activations at their kinks inside of "
                "torch.compile or torch.utils.checkpoint: a difference that crosses a kink has an error as large as the "
                'gradient. Use smooth activations there, or method="exact"'
            )
        behind = self.request.graph_behind(scores)
        kinds = graph.kinds(behind)
        reentrant = REENTRANT_NODE in kinds

        compiled = self.kinks is None
        probing = self.request.unprobed()

        def differentiate(seed: Tensor, keep: bool = probing and not compiled) -> Tensor | None:
            if reentrant:
                return self._full_backward(seed, graph.leaves(behind))
            with self.state.unchanged():
                return torch.autograd.grad(scores, self.x, seed, retain_graph=keep, allow_unused=True)[0]

        def differentiate_again(seed: Tensor) -> Tensor | None:
            nonlocal scores
            if compiled and not reentrant:  # a compiled backward may reuse its inputs' memory
                self.state.restore()
                with _no_sync(self.parallel):
                    scores = self._scores_at_x()
            return differentiate(seed, keep=False)

        grads = self.request.input_gradient(scores, differentiate)
        if probing:
            self.request.probe(scores, grads, behind, differentiate_again)
        self.coupled = self.request.coupled or bool(self.request.identity.known())
        penalty, norms = self.request.value(grads)
        if self.coupled and penalty.dim():
            raise ValueError(
                'reduction is "none" with method="finite_difference" and a critic that couples the samples of a batch, for '
                'which there is one difference for the whole batch; expected "mean" or "sum", or method="exact"'
            )
        surrogate = self._surrogate(grads, norms, scores.dtype, epsilon(self.x, scores, kinds), reentrant)
        return _WithGradientOf.apply(penalty, surrogate if penalty.dim() else surrogate.sum()), norms

    def _scores_at_x(self) -> Tensor:
        """The scores at x, of a copy, as a critic cannot change a leaf in place. But torch.compile warns of an argument
        that requires grad and is not a leaf."""
        if self.kinks is None:
            try:
                return self.run(self.x)
            except RuntimeError as error:
                if "a leaf Variable that requires grad" not in str(error):
                    raise
                self.state.restore()
        return self.run(self.x.clone())

    def _may_cross_kinks(self) -> bool:
        """Whether some activations ran whose kinks are not held."""
        if self.kinks is not None:
            return self.kinks.free
        return any(isinstance(inner, KINKED) for module in self.modules for inner in module.modules())

    def _full_backward(self, seed: Tensor, leaves: list[Tensor]) -> Tensor | None:
        """The same for critics that do not allow autograd.grad: by a backward with all parameters held fixed."""
        if not self.modules:
            raise RuntimeError(
                'critic uses torch.utils.checkpoint with use_reentrant=True, and method="finite_difference" finds no '
                "nn.Module whose parameters it could hold fixed; pass the module itself as critic, or "
                "use_reentrant=False to checkpoint"
            )
        parameters = [parameter for module in self.modules for parameter in module.parameters()]
        with frozen([tensor for tensor in (*parameters, *leaves) if tensor is not self.x]):
            self.state.restore()
            with _no_sync(self.parallel):
                scores = self.run(self.x.clone())
            # retain_graph: the critic's arguments may have a graph that the caller still needs.
            with self.state.unchanged():
                torch.autograd.backward(scores, seed, retain_graph=True)
        grads, self.x.grad = self.x.grad, None
        return grads

    def _surrogate(
        self, grads: Tensor, norms: Tensor, scores_dtype: torch.dtype, eps: float, reentrant: bool
    ) -> Tensor:
        """The terms of S, ``[B]``.

        Args:
            grads: g ``[B, ...]``.
            norms: n ``[B]``.
            scores_dtype: The dtype of the scores.
            eps: The machine epsilon of the critic's computation.
            reentrant: Whether the critic has a reentrant checkpoint.
        """
        leaf = norms.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(self.request.value(leaf.unsqueeze(1))[0].sum(), leaf)
        steps = self._steps(eps)
        if self.coupled:
            # A sample's score depends on all samples, so there is one difference, for the whole batch.
            largest = slopes.abs().amax()
            step = steps.mean() / largest.where(largest != 0, 1)
            lengths, weights = slopes * step, (0.5 / step).expand_as(slopes)
        else:
            lengths, weights = steps, slopes / (2 * steps)
        # A zero gradient has the subgradient 0.
        lengths = torch.where(norms == 0, 0, lengths / norms)
        shift = grads * lengths.view(-1, *[1] * (grads.dim() - 1))
        plus, minus = (self._scores_at(self.x.detach() + shift * sign, reentrant) for sign in (1, -1))
        terms = weights * (plus - minus)
        rounding = eps * weights.abs() * (plus.abs() + minus.abs() + torch.finfo(scores_dtype).smallest_normal)
        most = min(DISAGREEMENT, 10 * eps ** (1 / 3))
        if norms.amax() > VANISHING:
            self._refuse_another_derivative(terms.detach(), slopes * norms, rounding.detach(), most)
        return terms

    def _refuse_another_derivative(self, terms: Tensor, expected: Tensor, rounding: Tensor, most: float) -> None:
        """Raises if the scores do not change along u as their gradient says.

        Args:
            terms: S's terms ``[B]``.
            expected: What the gradient makes of them, c_i n_i ``[B]``.
            rounding: The size of their rounding errors ``[B]``.
            most: The largest relative error that is not rounding.
        """
        if self._may_cross_kinks():
            return
        if self.coupled:
            terms, expected = terms.sum(), expected.sum()
        error, size, rounded = torch.stack([(terms - expected).norm(), expected.norm(), rounding.norm()]).tolist()
        if error > most * size + ROUNDINGS * rounded:
            raise RuntimeError(
                "critic's backward is not the derivative of its forward: along its gradient the scores change by another "
                f"amount than its norm, with a relative error of {error / size:.2g}; expected at most {most:.2g} and "
                "rounding. Causes are detach() or no_grad on a branch, gradient reversal or scaling, straight-through "
                "rounding, a state outside of the module's buffers that each forward changes, and in half precision scores "
                "that are too sharply curved or too coarsely rounded for a difference. Make the two agree, or "
                'pass method="exact", which differentiates the backward as it is'
            )

    def _scores_at(self, points: Tensor, reentrant: bool) -> Tensor:
        """The scores at points, summed per sample to ``[B]``, with random numbers, buffers and kinks as at x."""
        # A reentrant checkpoint gives its parameters no gradient if none of its inputs requires grad.
        points = points.to(self.x.dtype).requires_grad_(reentrant)
        self.state.restore()
        with contextlib.nullcontext() if self.kinks is None else self.kinks.replaying():
            scores = self.run(points.clone() if reentrant else points)
        return scores.to(accumulate_dtype(scores.dtype)).unsqueeze(-1).flatten(1).sum(1)

    def _steps(self, eps: float) -> Tensor:
        """e, ``[B]``. At least that of a sample of average norm: the rounding of a score does not shrink with x."""
        x = self.x.detach().unsqueeze(-1)
        sizes = torch.linalg.vector_norm(x, dim=list(range(1, x.dim())), dtype=accumulate_dtype(x.dtype))
        sizes = torch.maximum(sizes, sizes.mean())
        factor: float = STEP * eps ** (1 / 3)
        return factor * sizes.where(sizes != 0, 1)


class _WithGradientOf(torch.autograd.Function):
    """Returns the first argument; its gradient is that of the second."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, surrogate: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad


class _State:
    """A copy of what a forward changes besides its result: random states and buffers."""

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
            buffer.data.copy_(before)  # data: a backward may have saved those that did not change

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Raises if a backward changes a buffer. If the buffer changes the weights, the difference of the two scores,
        divided by a small step, would contain that change."""
        changed = watch([buffer for buffer, _ in self.buffers])
        yield
        if changed():
            raise RuntimeError(
                "critic changes its buffers when a checkpoint runs again (as spectral_norm does in training mode), which makes "
                'method="finite_difference" wrong by far. Take these layers out of torch.utils.checkpoint, or call '
                'eval() on them, or pass method="exact"'
            )


def _parallel(modules: list[nn.Module]) -> list[DistributedDataParallel]:
    if not (dist.is_available() and dist.is_initialized()):
        return []
    parallel = [m for module in modules for m in module.modules() if isinstance(m, DistributedDataParallel)]
    if any(module.static_graph for module in parallel):
        raise ValueError(
            'critic is wrapped in DistributedDataParallel with static_graph=True, and method="finite_difference" runs an '
            "extra backward with a different graph; expected static_graph=False"
        )
    return parallel


@contextlib.contextmanager
def _no_sync(parallel: list[DistributedDataParallel]) -> Iterator[None]:
    """Within the block, DistributedDataParallel does not prepare to reduce gradients."""
    with contextlib.ExitStack() as stack:
        for module in parallel:
            stack.enter_context(module.no_sync())
        yield
