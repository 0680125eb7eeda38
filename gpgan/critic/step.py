"""One update of a critic: all terms, gradients, clipping and the optimizer's step in one call, at its arithmetic floor."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gpgan.critic import cuda_graph
from gpgan.critic.autograd import General
from gpgan.critic.common import CriticLoss, CriticStats, Inputs, Path, Settings
from gpgan.critic.compiled import Compiled, NotCompiled
from gpgan.critic.cuda_graph import CudaGraphs
from gpgan.critic.optimizer import average_gradients, check_limit, choose_fused, update
from gpgan.critic.plan import choose
from gpgan.critic.scheduled import Scheduled
from gpgan.nn.spectral import is_normalised
from gpgan.objectives.wasserstein import WASSERSTEIN
from gpgan.ops._checks import check_same, check_samples
from gpgan.ops.backend import backend_for
from gpgan.penalty import Critic, Penalty
from gpgan.penalty.checks import check_rows
from gpgan.penalty.points import draw_points
from gpgan.schedule.tape import Unsupported
from gpgan.util.threads import cpu_threads


class CriticStep:
    """One call does a critic's whole update: ``step(real, fake)`` zeroes the gradients, computes those of the real, the
    fake and the penalty term, averages and clips them where asked, and steps the optimizer.

    The numbers are those of the usual script,

        loss = real_term(critic(real)) + fake_term(critic(fake)) + gradient_penalty(critic, real, fake)

    up to rounding. Chains and residual sums of linear maps and piecewise-linear activations run by an explicit schedule
    without autograd; anything else by autograd with the pruned penalty. ``plan`` says which, why, and at what cost.

    Args:
        critic: Any callable from ``[B, ...]`` to scores ``[B, ...]``. The schedule takes ``nn.Module``s only. It hands
            the critic real, fake and penalty samples as one batch.
        optimizer: Of the critic's parameters. An Adam or AdamW that was left to choose its implementation
            (``fused=None, foreach=None``) is switched to the fused one where it has not stepped yet.
        penalty: None for a step without.
        objective: ``(real_term, fake_term)``, each from scores ``[B, ...]`` to a 0-d loss, or one function of (real
            scores, fake scores) where they are compared in pairs: ``gpgan.objectives.get(name).critic``. Wasserstein by
            default. One function keeps the graphs of both runs of a critic on the general path until it is known.
        lazy: The penalty at every k-th step only, the first included, with weight * k (lazy regularisation, Karras et
            al., arXiv 1912.04958, appendix B).
        max_grad_norm: Clips the norm of all gradients together.
        max_weight: Clamps every parameter of the optimizer to [-max_weight, max_weight] after each update: weight
            clipping (Arjovsky et al., arXiv 1701.07875, algorithm 1).
        autocast: ``torch.bfloat16`` or ``torch.float16``: the critic runs under autocast, parameters and the penalty's
            arithmetic stay float32; with float16 the critic's run for the penalty, too.
        scaler: Scales the losses of a float16 critic, unscales before clipping and skips updates that overflowed;
            ``update()`` is called here. ``torch.amp.GradScaler(device)``, one of the step's own.
        compile: The schedule's sweeps through torch.compile, traced at the first step: what the critic's forward reads
            from its attributes is then fixed. Falls back with the reason in ``plan``.
        cuda_graph: The whole step, optimizer included, captured as a CUDA graph and replayed. Falls back likewise.
        process_group: Averages the gradients over this group of ``torch.distributed``; each process has its own share of
            the batch, of the same size. For a critic that is not wrapped in DistributedDataParallel.

    Raises:
        TypeError, ValueError: An argument is of the wrong type, dtype, shape or range; as ``gradient_penalty`` raises.
    """

    def __init__(
        self,
        critic: Critic,
        optimizer: torch.optim.Optimizer,
        *,
        penalty: Penalty | None = Penalty(),  # noqa: B008 (frozen)
        objective: CriticLoss = WASSERSTEIN.critic,
        lazy: int = 1,
        max_grad_norm: float | None = None,
        max_weight: float | None = None,
        autocast: torch.dtype | None = None,
        scaler: torch.amp.GradScaler | None = None,
        compile: bool = False,
        cuda_graph: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        _check(critic, optimizer, penalty, objective, lazy, autocast, scaler, process_group)
        for name, limit in (("max_grad_norm", max_grad_norm), ("max_weight", max_weight)):
            if limit is not None:
                check_limit(name, limit)
        if max_weight is not None and isinstance(critic, nn.Module) and any(map(is_normalised, critic.modules())):
            raise ValueError(
                f"max_weight is {max_weight:g} and the critic has spectral normalisation, which divides its weights by their "
                "norm whatever their size; expected one of them"
            )
        self.optimizer, self.penalty, self.lazy = optimizer, penalty, lazy
        self.settings = Settings(critic, objective, autocast, optimizer, scaler)
        self.max_grad_norm, self.max_weight, self.process_group = max_grad_norm, max_weight, process_group
        self.compile, self.cuda_graph = compile, cuda_graph
        self.steps = 0
        choose_fused(optimizer)
        self._path: Path | None = None
        self._serial: bool | None = None
        self._graphs: CudaGraphs | None = None
        self._notes: list[str] = []

    @property
    def plan(self) -> str:
        """How the steps are computed and why, in words; known from the first step on."""
        if self._path is None:
            return "not known before the first step"
        threads = ["on one CPU thread, too small for more"] if self._path.serial and not self._graphs else []
        return "; ".join([self._path.plan, *threads, *self._notes])

    def __call__(
        self,
        real: Tensor,
        fake: Tensor,
        *,
        alpha: Tensor | None = None,
        generator: torch.Generator | None = None,
        critic_args: Sequence[Any] = (),
        critic_kwargs: Mapping[str, Any] | None = None,
    ) -> CriticStats:
        """Updates the critic.

        Args:
            real: ``[B, ...]``.
            fake: ``[B, ...]``, detached here: nothing flows into the generator.
            alpha: ``[B]``: of the interpolation, as for ``gradient_penalty``.
            generator: For ``alpha`` where None.
            critic_args: Passed on after the samples (labels, the same for real, fake and the penalty's points).
            critic_kwargs: Likewise.
        """
        if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
            raise RuntimeError(
                "CriticStep was called with grad mode off, where a critic has no gradients; call it outside"
            )
        check_samples("real", real)
        check_same("fake", fake, "real", real)
        if real.shape[0] == 0:
            raise ValueError(f"real has shape {tuple(real.shape)}: an empty batch has no gradients; skip the step")
        check_rows(critic_args, critic_kwargs or {}, real.shape[0])
        penalty = self.penalty if self.steps % self.lazy == 0 else None
        if penalty is not None and self.lazy > 1:
            penalty = replace(penalty, weight=penalty.weight * self.lazy)
        inputs = Inputs(real.detach(), fake.detach(), alpha, generator, critic_args, critic_kwargs)
        first = self._path is None
        if first:
            self._prepare(inputs)
        try:
            stats = self._captured(inputs, penalty) if self._graphs is not None else self._update(inputs, penalty)
        except Exception:
            if first:  # what was seen of a critic that fails is no ground for a plan
                self._path, self._graphs, self._notes = None, None, []
            raise
        self.steps += 1
        return stats

    def _prepare(self, inputs: Inputs) -> None:
        path = choose(self.settings, inputs, self.penalty)
        if self.compile and isinstance(path, Scheduled):
            path = Compiled(path)
        elif self.compile:
            self._notes.append("not compiled: torch.compile has no double backward, which this path needs")
        self._path = path
        if isinstance(path, General) and self._serial is not None:
            path.serial = self._serial  # counted once, before this step's state was saved
        if self.cuda_graph:
            distributed, scaled = self.process_group is not None, self.settings.scaler is not None
            reason = "its losses are scaled" if scaled else cuda_graph.why_not(inputs, distributed)
            if reason is None:
                self._graphs = cuda_graph.CudaGraphs(self._update, self.optimizer)
                self._notes.append(f"captured as a CUDA graph after {cuda_graph.WARM_UP} steps")
            else:
                self._notes.append(f"no CUDA graph: {reason}")

    def _captured(self, inputs: Inputs, penalty: Penalty | None) -> CriticStats:
        assert self._graphs is not None
        try:
            return self._graphs(inputs, penalty)
        except RuntimeError as error:
            self._graphs = None
            self._notes[-1] = f"no CUDA graph: {str(error).splitlines()[0]}"
            return self._update(inputs, penalty)

    def _update(self, inputs: Inputs, penalty: Penalty | None) -> CriticStats:
        path = self._path
        assert path is not None
        serial = path.serial and not inputs.real.is_cuda
        with cpu_threads(1) if serial else contextlib.nullcontext():
            return self._update_by(path, inputs, penalty)

    def _update_by(self, path: Path, inputs: Inputs, penalty: Penalty | None) -> CriticStats:
        points = None
        if penalty is not None:
            backend = backend_for(penalty.impl, inputs.real)
            points = draw_points(
                backend, inputs.real, inputs.fake, penalty.points, inputs.alpha, inputs.generator
            ).detach()
        self.optimizer.zero_grad()
        try:
            stats = path(inputs, points, penalty)
        except NotCompiled as reason:
            assert isinstance(path, Compiled)
            self._path = path.scheduled
            self._notes.append(f"not compiled: {reason}")
            stats = self._path(inputs, points, penalty)
        except Unsupported:  # the critic went another way than at its trial run
            self._path = choose(self.settings, inputs, self.penalty)
            try:
                stats = self._path(inputs, points, penalty)
            except Unsupported as reason:
                self._path = General(self.settings, str(reason))
                stats = self._path(inputs, points, penalty)
        if self.process_group is not None:
            average_gradients(self.optimizer, self.process_group)
        update(self.optimizer, self.max_grad_norm, self.settings.scaler, self.max_weight)
        return stats

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on, beside the critic and its optimizer: the phase of ``lazy`` and the threads."""
        return {"steps": self.steps, "serial": self._path.serial if self._path else self._serial}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where the step that gave ``state`` stood."""
        self.steps, self._serial = int(state["steps"]), state["serial"]


def _check(
    critic: Any,
    optimizer: Any,
    penalty: Any,
    objective: Any,
    lazy: Any,
    autocast: Any,
    scaler: Any,
    process_group: Any,
) -> None:
    if not callable(critic):
        raise TypeError(f"critic is a {type(critic).__name__}; expected a callable from [B, ...] to scores [B, ...]")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer is a {type(optimizer).__name__}; expected a torch.optim.Optimizer of the critic's parameters"
        )
    if penalty is not None and not isinstance(penalty, Penalty):
        raise TypeError(f"penalty is a {type(penalty).__name__}; expected gpgan.Penalty(weight=10.0) or None")
    pair = isinstance(objective, tuple) and len(objective) == 2 and all(callable(term) for term in objective)
    if not (pair or callable(objective)):
        raise TypeError(
            f"objective is a {type(objective).__name__}, neither a pair of functions nor one; expected (real_term, "
            "fake_term), each from scores to a 0-d loss, or one function of (real scores, fake scores), e.g. "
            'gpgan.objectives.get("hinge").critic'
        )
    if isinstance(lazy, bool) or not isinstance(lazy, int) or lazy < 1:
        raise ValueError(f"lazy is {lazy!r}; expected a whole number, 1 or above: the penalty at every k-th step")
    if autocast not in (None, torch.bfloat16, torch.float16):
        raise ValueError(f"autocast is {autocast!r}; expected torch.bfloat16, torch.float16 or None")
    if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
        raise TypeError(f"scaler is a {type(scaler).__name__}; expected a torch.amp.GradScaler or None")
    if autocast == torch.float16 and scaler is None:
        raise ValueError(
            "autocast is torch.float16 and there is no scaler: gradients would vanish; expected one, "
            "scaler=torch.amp.GradScaler(device), or autocast=torch.bfloat16"
        )
    if process_group is not None and not isinstance(process_group, dist.ProcessGroup):
        raise TypeError(
            f"process_group is a {type(process_group).__name__}; expected a torch.distributed.ProcessGroup, e.g. "
            "torch.distributed.group.WORLD after init_process_group"
        )
