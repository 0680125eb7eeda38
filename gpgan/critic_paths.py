"""The ways in which a critic step's gradients are computed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gpgan.critic_checks import check_scores, is_compiled
from gpgan.penalty import Critic, Penalty, _backend, gradient_penalty
from gpgan.second_order.maps import Convolution, Gradients
from gpgan.second_order.schedule import Schedule
from gpgan.second_order.tape import Tape, Unsupported

Term = Callable[[Tensor], Tensor]


def wasserstein_real(scores: Tensor) -> Tensor:
    """-mean(f(real)): the critic's loss on real samples (Arjovsky et al., arXiv 1701.07875, equation 3)."""
    return -scores.mean()


def wasserstein_fake(scores: Tensor) -> Tensor:
    """mean(f(fake)): the critic's loss on fake samples (same source)."""
    return scores.mean()


WASSERSTEIN = (wasserstein_real, wasserstein_fake)


@dataclass(frozen=True)
class CriticStats:
    """What a step saw before its update: detached tensors on the critic's device. Reading one does not wait for it."""

    real_scores: Tensor
    """``[B, ...]``"""
    fake_scores: Tensor
    """``[B, ...]``"""
    penalty: Tensor | None
    """0-d, times ``lazy``; None at a step without penalty, as are the three below"""
    norms: Tensor | None
    """``[B]``: the critic's gradient norms at the points"""
    objective: tuple[Term, Term]

    @property
    def loss(self) -> Tensor:
        """Objective plus penalty, 0-d."""
        with torch.no_grad():
            loss = self.objective[0](self.real_scores) + self.objective[1](self.fake_scores)
            return loss if self.penalty is None else loss + self.penalty

    @property
    def wasserstein(self) -> Tensor:
        """mean(f(real)) - mean(f(fake)), 0-d: the estimate of the distance, whatever the objective."""
        return self.real_scores.mean() - self.fake_scores.mean()

    @property
    def norm_mean(self) -> Tensor | None:
        return None if self.norms is None else self.norms.mean()

    @property
    def norm_max(self) -> Tensor | None:
        return None if self.norms is None else self.norms.amax()


@dataclass(frozen=True)
class Inputs:
    """The arguments of one step."""

    real: Tensor
    fake: Tensor
    alpha: Tensor | None
    generator: torch.Generator | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any] | None


@dataclass(frozen=True)
class Settings:
    """What a path needs to know of the step that it serves."""

    critic: Critic
    objective: tuple[Term, Term]
    autocast: torch.dtype | None
    optimizer: torch.optim.Optimizer

    def casting(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, self.autocast)

    def terms(self, real_scores: Tensor, fake_scores: Tensor) -> list[Tensor]:
        terms = [term(scores) for term, scores in zip(self.objective, (real_scores, fake_scores), strict=True)]
        for name, term in zip(("real", "fake"), terms, strict=True):
            check_term(name, term)
        return terms


def check_term(name: str, term: Any) -> None:
    if not isinstance(term, Tensor) or term.dim() != 0:
        came = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else f"a {type(term).__name__}"
        raise ValueError(f"objective's {name} term returned {came}; wanted a 0-d Tensor, e.g. a mean over the scores")


# A count outside of these, in F, has missed operators without a formula in some of the sweeps.
LEAST, MOST = 3.0, 14.0


class Path(Protocol):
    plan: str

    def __call__(self, inputs: Inputs, points: Tensor | None, penalty: Penalty | None) -> CriticStats:
        """Computes the gradients of all parameters, which have none before. points: where the penalty is taken, if any."""


class General:
    """Autograd: the real term, the fake term and the pruned penalty one after the other, each graph freed before the next
    is built."""

    def __init__(self, settings: Settings, why: str) -> None:
        self.settings, self.why = settings, why
        self.plan = self._plan("")
        self.counted = False

    def _plan(self, operations: str) -> str:
        return f"general path: autograd with the pruned penalty{operations}, because {self.why}"

    def __call__(self, inputs: Inputs, points: Tensor | None, penalty: Penalty | None) -> CriticStats:
        if penalty is not None and not self.counted:
            self.counted = True
            return self._counted(inputs, points, penalty)
        return self._run(inputs, points, penalty, None)

    def _counted(self, inputs: Inputs, points: Tensor | None, penalty: Penalty) -> CriticStats:
        from gpgan.second_order.counting import Operations  # slow to import, needed once

        with Operations() as operations:
            forward: list[int] = []
            stats = self._run(inputs, points, penalty, lambda: forward.append(operations.count))
        share = operations.count / forward[0] if forward[0] else 0.0
        if LEAST < share < MOST:
            self.plan = self._plan(f" ({share:.2f}F with the penalty, F being one forward over B)")
        else:
            self.plan = self._plan(" (operations not counted: its operators have no formulas)")
        return stats

    def _run(
        self,
        inputs: Inputs,
        points: Tensor | None,
        penalty: Penalty | None,
        after_forward: Callable[[], None] | None,
    ) -> CriticStats:
        settings, kwargs = self.settings, dict(inputs.kwargs or {})
        backward = Backward(at_once=self._hooked())
        scores: list[Tensor] = []
        for name, samples, term in zip(("real", "fake"), (inputs.real, inputs.fake), settings.objective, strict=True):
            with settings.casting(samples.device):
                out = check_scores(settings.critic(samples, *inputs.args, **kwargs), len(samples))
                if after_forward is not None and not scores:
                    after_forward()
                loss = term(out)
            check_term(name, loss)
            scores.append(out.detach())
            backward.add(loss)
        value = norms = None
        if penalty is not None:
            assert points is not None
            with settings.casting(inputs.real.device):
                value, norms = gradient_penalty(
                    settings.critic,
                    None,
                    None,
                    weight=penalty.weight,
                    target=penalty.target,
                    one_sided=penalty.one_sided,
                    points=points,
                    critic_args=inputs.args,
                    critic_kwargs=inputs.kwargs,
                    method=penalty.method,
                    second_order=penalty.second_order,
                    impl=penalty.impl,
                    allow_batch_coupling=penalty.allow_batch_coupling,
                    return_norms=True,
                )
            backward.add(value)
            value = value.detach()
        backward.finish()
        return CriticStats(scores[0], scores[1], value, norms, settings.objective)

    def _hooked(self) -> bool:
        """Whether something waits for the parameters' gradients, which must then come whole, as from one loss."""
        if isinstance(self.settings.critic, DistributedDataParallel):
            return True
        parameters = (p for group in self.settings.optimizer.param_groups for p in group["params"])
        return any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters)


class Backward:
    """The backward of a sum of losses: of each as it comes, which frees its graph, or of all at once."""

    def __init__(self, at_once: bool) -> None:
        self.waiting: list[Tensor] | None = [] if at_once else None

    def add(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            raise ValueError(
                "critic's scores do not depend on its parameters (is it computed under no_grad, detached or frozen?); "
                "wanted scores with a graph"
            )
        if self.waiting is None:
            torch.autograd.backward(loss)
        else:
            self.waiting.append(loss)

    def finish(self) -> None:
        if self.waiting:
            torch.autograd.backward(torch.stack([loss.to(self.waiting[-1].dtype) for loss in self.waiting]).sum())


class Scheduled:
    """The explicit schedule of second_order/schedule.py."""

    def __init__(
        self, settings: Settings, convolutions_on_cpu: bool, memory_format: torch.memory_format, operations: str
    ) -> None:
        self.settings, self.memory_format = settings, memory_format
        # One batch is one call for each operation, and fuller matrix products. A CPU's convolutions gain nothing from
        # that, and their activations are what fills the memory.
        self.apart = convolutions_on_cpu
        self.plan = (
            f"scheduled path: the critic is a sum of chains of linear maps and piecewise-linear activations, whose "
            f"derivatives are computed without autograd ({operations})"
        )

    def __call__(self, inputs: Inputs, points: Tensor | None, penalty: Penalty | None) -> CriticStats:
        parts = [part for part in (inputs.real, inputs.fake, points) if part is not None]
        with torch.no_grad(), self.settings.casting(inputs.real.device):
            stats, gradients = self._sweep(torch.cat(parts), penalty)
        for parameter, gradient in gradients.items():
            if parameter.requires_grad:
                parameter.grad = gradient
        return stats

    def _sweep(self, batch: Tensor, penalty: Penalty | None) -> tuple[CriticStats, Gradients]:
        points = 0 if penalty is None else batch.shape[0] // 3
        rows = (batch.shape[0] - points) // 2
        batch = batch.contiguous(memory_format=self.memory_format)
        value = norms = None

        def direction(g: Tensor) -> Tensor:
            nonlocal value, norms
            assert penalty is not None
            value, norms, v = _backend(penalty.impl, g).gradient_norm_penalty_with_direction(
                g, weight=penalty.weight, target=penalty.target, one_sided=penalty.one_sided
            )
            return v.to(g.dtype)  # type: ignore[no-any-return]

        gradients: Gradients = {}
        sizes = [(2 * rows, 0), (0, points)] if self.apart and points else [(2 * rows, points)]
        scores: list[Tensor] = []
        for part, (plain, ends) in zip(torch.split(batch, [sum(size) for size in sizes]), sizes, strict=True):
            tape, out = run(self.settings.critic, part)
            scores.append(out)
            Schedule(tape, out, ends).gradients(self._seed(out, plain // 2), direction, gradients)
        return CriticStats(
            scores[0][:rows], scores[0][rows : 2 * rows], value, norms, self.settings.objective
        ), gradients

    def _seed(self, scores: Tensor, rows: int) -> Tensor:
        """d loss / d score of real and fake, so many rows each, and ones for the points, whose scores are summed."""
        if not rows:
            return torch.ones_like(scores)
        if self.settings.objective == WASSERSTEIN:
            return _wasserstein_seed(scores.shape, rows, scores.dtype, scores.device)
        seed = torch.ones_like(scores)
        with torch.enable_grad():
            leaf = scores[: 2 * rows].detach().requires_grad_()
            terms = self.settings.terms(leaf[:rows], leaf[rows:])
            (seed[: 2 * rows],) = torch.autograd.grad(terms[0] + terms[1], leaf)
        return seed


@functools.lru_cache(maxsize=8)
def _wasserstein_seed(shape: torch.Size, rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    seed = torch.ones(shape, dtype=dtype, device=device)
    share = 1 / seed[:rows].numel()
    seed[:rows], seed[rows : 2 * rows] = -share, share
    return seed


class NotCompiled(Exception):
    """torch.compile could not do it, for want of a C++ compiler perhaps."""


class Compiled(Scheduled):
    """The schedule's sweeps, traced once for each kind of batch and compiled by inductor."""

    def __init__(self, scheduled: Scheduled) -> None:
        self.scheduled = scheduled
        self.settings, self.apart = scheduled.settings, scheduled.apart
        self.memory_format = torch.contiguous_format  # inductor lays out what it computes by itself
        self.plan = f"{scheduled.plan}, traced and compiled"
        self._programs: dict[Any, tuple[Callable[[Tensor], tuple[Any, ...]], list[nn.Parameter]]] = {}

    def _sweep(self, batch: Tensor, penalty: Penalty | None) -> tuple[CriticStats, Gradients]:
        kind = (penalty, batch.shape, batch.dtype)
        if kind not in self._programs:
            try:
                self._programs[kind] = self._compile(batch, penalty)
            except Exception as error:
                reason = " ".join((str(error) or type(error).__name__).splitlines()[:2])
                raise NotCompiled(reason) from error
        program, parameters = self._programs[kind]
        real, fake, value, norms, *gradients = program(batch)
        stats = CriticStats(real, fake, value, norms, self.settings.objective)
        return stats, dict(zip(parameters, gradients, strict=True))

    def _compile(self, batch: Tensor, penalty: Penalty | None) -> Any:
        from torch.fx.experimental.proxy_tensor import make_fx  # slow to import, and rarely needed

        parameters: list[nn.Parameter] = []

        def sweep(batch: Tensor) -> tuple[Any, ...]:
            stats, gradients = super(Compiled, self)._sweep(batch, penalty)
            parameters[:] = gradients
            return stats.real_scores, stats.fake_scores, stats.penalty, stats.norms, *gradients.values()

        # A clone: the sweeps write into their batch.
        traced = make_fx(sweep, tracing_mode="real")(batch.clone())
        # Without a Python call for each operation, which on small critics takes longer than the operation.
        options: dict[str, Any] = {} if batch.is_cuda else {"cpp_wrapper": True}
        program = torch.compile(traced, fullgraph=True, dynamic=False, options=options)
        program(batch.clone())
        return program, parameters


def run(critic: Critic, batch: Tensor) -> tuple[Tape, Tensor]:
    """The critic's run over batch and its scores, without autograd.

    Raises:
        Unsupported: The schedule does not know how to take it apart.
    """
    if backward_hooks(critic):
        raise Unsupported("a module with backward hooks")
    with Tape(batch) as tape:
        scores = critic(batch)
    if tape.failure is not None:
        raise Unsupported(tape.failure)
    if not isinstance(scores, Tensor) or scores.shape[:1] != batch.shape[:1]:
        raise Unsupported("its output is no tensor [B, ...]")
    if not scores.is_floating_point():
        raise Unsupported("its output is no floating point tensor")
    tape.number(scores)
    return tape, scores


def backward_hooks(critic: Critic) -> bool:
    """Whether a module waits for gradients to pass through it. Runs at every step: kept quick."""
    waiting: list[Any] = [critic]
    while waiting:
        module = waiting.pop()
        if isinstance(module, nn.Module):
            if module._backward_hooks or module._backward_pre_hooks:
                return True
            waiting.extend(module._modules.values())
    return False


def choose(settings: Settings, inputs: Inputs, penalty: Penalty | None) -> Path:
    """The path for a critic, by a trial run of its forward that leaves no trace in buffers and random states."""
    reason = _static_reason(settings.critic, inputs, penalty)
    if reason is not None:
        return General(settings, reason)
    critic = settings.critic
    assert isinstance(critic, nn.Module)
    buffers = [(buffer, buffer.clone()) for buffer in critic.buffers()]
    devices = [inputs.real.device] if inputs.real.is_cuda else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), settings.casting(inputs.real.device):
            batch = torch.cat([inputs.real, inputs.fake, inputs.real])
            schedule = _trial(critic, batch)
            memory_format = torch.contiguous_format
            convolutions_on_cpu = not batch.is_cuda and any(isinstance(map, Convolution) for map in schedule.maps)
            # oneDNN's convolutions are quicker on channels that lie together; a view across them is not possible then.
            if convolutions_on_cpu and batch.dim() == 4:
                with contextlib.suppress(Exception):
                    _trial(critic, batch.contiguous(memory_format=torch.channels_last))
                    memory_format = torch.channels_last
    except Exception as error:  # whatever it is, autograd's path will show it as it is
        return General(settings, str(error) if isinstance(error, Unsupported) else "its trial run failed")
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    done, forward = schedule.operations()
    operations = f"{done / forward:.2f}F with the penalty, F being one forward over B"
    return Scheduled(settings, convolutions_on_cpu, memory_format, operations)


def _trial(critic: nn.Module, batch: Tensor) -> Schedule:
    tape, scores = run(critic, batch)
    rows = len(batch) // 3
    # The schedule's batch is three times the script's: a critic that counts its samples would notice.
    alone = critic(batch[:rows])
    difference = (alone - scores[:rows]).abs().max()
    if not difference <= 16 * torch.finfo(scores.dtype).eps ** 0.5 * alone.abs().max():
        raise Unsupported("a score depends on how many samples come with it")
    return Schedule(tape, scores, rows)


def _static_reason(critic: Critic, inputs: Inputs, penalty: Penalty | None) -> str | None:
    """Why a critic cannot be scheduled, as far as that shows without running it."""
    if not isinstance(critic, nn.Module):
        return "critic is no nn.Module"
    if isinstance(critic, DistributedDataParallel):
        return "critic is wrapped in DistributedDataParallel"
    if is_compiled(critic):
        return "critic is compiled"
    if inputs.args or inputs.kwargs:
        return "critic takes more than samples"
    if penalty is not None and (penalty.method != "exact" or penalty.second_order != "pruned"):
        return "of the penalty's method or second_order"
    return None
