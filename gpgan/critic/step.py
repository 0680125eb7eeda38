"""One critic update in a single call, with the fewest possible operations."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gpgan.critic.common import CriticLoss, CriticStats, Inputs, PenaltyTerm, Settings
from gpgan.critic.observations import refuse_not_finite
from gpgan.critic.optimizer import average_gradients, check_holds, check_limit, check_step, choose_fused, update
from gpgan.critic.plan import Plan
from gpgan.nn.spectral import is_normalised
from gpgan.objectives.objective import Objective
from gpgan.objectives.wasserstein import WASSERSTEIN
from gpgan.ops._checks import check_same
from gpgan.ops.backend import backend_for
from gpgan.penalty import Critic, Penalty
from gpgan.penalty.checks import check_grad_mode, check_rows
from gpgan.penalty.points import check_batch, draw_points
from gpgan.penalty.probe import Identity
from gpgan.util import threads


class CriticStep:
    """``step(real, fake)`` is one whole update of a critic: it zeroes the gradients, computes those of the real term,
    the fake term and the penalty, averages and clips them if requested, and steps the optimizer.

    The numbers are those of the usual script,

        loss = real_term(critic(real)) + fake_term(critic(fake)) + gradient_penalty(critic, real, fake)

    up to rounding. Critics that are chains or residual sums of linear maps and piecewise-linear activations run by an
    explicit schedule without autograd; all others by autograd with the pruned penalty. ``plan`` says which, why, and at
    what cost.

    Args:
        critic: Any callable from ``[B, ...]`` to scores ``[B, ...]``. The schedule works for ``nn.Module``s only, and
            may call the critic with real, fake and penalty samples as one batch.
        optimizer: The optimizer of the critic's parameters. If it holds none of those that require grad, the first step
            raises an error; if only some, it warns. One whose ``step`` requires a closure (LBFGS) is refused. An Adam
            or AdamW with the default implementation (``fused=None, foreach=None``) that has not stepped yet is switched
            to the fused one.
        penalty: None for no penalty.
        objective: An ``Objective``, as ``gpgan.objectives.get(name)`` gives it; or its ``critic``: ``(real_term,
            fake_term)``, each from scores ``[B, ...]`` to a 0-d loss, or one function of (real scores, fake scores)
            that compares them in pairs. Wasserstein by default. A paired objective keeps both forward graphs alive on
            the general path.
        lazy: k: the penalty is computed at every k-th step only, from the first on, with weight * k (lazy
            regularisation, Karras et al., arXiv 1912.04958, appendix B).
        max_grad_norm: Clips the joint norm of all gradients.
        max_weight: Clamps every parameter of the optimizer to [-max_weight, max_weight] after each update: weight
            clipping (Arjovsky et al., arXiv 1701.07875, algorithm 1).
        autocast: ``torch.bfloat16`` or ``torch.float16``: the critic runs under autocast. Parameters and the penalty's
            arithmetic stay float32; with float16, so does the critic's forward for the penalty.
        scaler: ``torch.amp.GradScaler(device)``. Scales the losses of a float16 critic, unscales before clipping and
            skips updates that overflowed. Use a scaler that nothing else uses; CriticStep calls ``update()``.
        compile: Compiles the schedule's sweeps. They are traced at the first step, which fixes what the critic's
            forward reads from its attributes. If this fails, the step runs uncompiled and ``plan`` gives the reason.
        cuda_graph: Captures the whole step, optimizer included, as a CUDA graph and replays it. If this fails, the step
            runs without and ``plan`` gives the reason.
        process_group: Averages the gradients over this ``torch.distributed`` group. Each process has its own share of
            the batch, all of the same size. For a critic that is not wrapped in DistributedDataParallel.

    Raises:
        TypeError, ValueError: An argument has the wrong type, dtype, shape or range.
    """

    def __init__(
        self,
        critic: Critic,
        optimizer: torch.optim.Optimizer,
        *,
        penalty: Penalty | None = Penalty(),  # noqa: B008 (frozen)
        objective: Objective | CriticLoss = WASSERSTEIN,
        lazy: int = 1,
        max_grad_norm: float | None = None,
        max_weight: float | None = None,
        autocast: torch.dtype | None = None,
        scaler: torch.amp.GradScaler | None = None,
        compile: bool = False,
        cuda_graph: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        if isinstance(objective, Objective):
            objective = objective.critic
        _check(critic, optimizer, penalty, objective, lazy, autocast, scaler, process_group)
        for name, limit in (("max_grad_norm", max_grad_norm), ("max_weight", max_weight)):
            if limit is not None:
                check_limit(name, limit)
        if max_weight is not None and isinstance(critic, nn.Module) and any(map(is_normalised, critic.modules())):
            raise ValueError(
                f"max_weight is {max_weight:g} and the critic has spectral normalisation, which divides the weights by their "
                "norm, so that clipping has no effect; expected only one of the two"
            )
        self.optimizer, self.penalty, self.lazy = optimizer, penalty, lazy
        self.settings = Settings(critic, objective, autocast, optimizer, scaler)
        self.max_grad_norm, self.max_weight, self.process_group = max_grad_norm, max_weight, process_group
        self.steps = 0
        self._learned = 0
        choose_fused(optimizer)
        self._plan = Plan(self.settings, penalty, compile, cuda_graph, distributed=process_group is not None)

    @property
    def plan(self) -> str:
        """How the steps are computed and why, in words. Known after the first step."""
        return str(self._plan)

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
            fake: ``[B, ...]``. Detached: nothing flows into the generator.
            alpha: ``[B]``, for the interpolation, as in ``gradient_penalty``.
            generator: Draws ``alpha`` if that is None, and the noise of ``points="noisy"``.
            critic_args: Passed to the critic after the samples (labels, the same for real, fake and the points).
            critic_kwargs: Passed to the critic as well.

        Raises:
            TypeError, ValueError: As ``gradient_penalty``.
            RuntimeError: Grad mode is off; or as ``gradient_penalty``.
        """
        check_grad_mode("CriticStep")
        check_batch("real", real)
        check_same("fake", fake, "real", real)
        check_rows(critic_args, {} if critic_kwargs is None else critic_kwargs, real.shape[0])
        penalty = self.penalty if self.steps % self.lazy == 0 else None
        if penalty is not None and self.lazy > 1:
            penalty = replace(penalty, weight=penalty.weight * self.lazy)
        inputs = Inputs(real.detach(), fake.detach(), alpha, generator, critic_args, critic_kwargs)
        stats = self._plan.step(self._update, inputs, penalty)
        self.steps += 1
        return stats

    def _update(self, inputs: Inputs, penalty: Penalty | None) -> CriticStats:
        real = inputs.real
        one_thread = self._plan.serial and not real.is_cuda and threads.may_set()
        with threads.cpu_threads(1) if one_thread else contextlib.nullcontext():
            term = None
            if penalty is not None:
                backend = backend_for(penalty.impl, real)
                x = draw_points(backend, penalty.points, real, inputs.fake, inputs.alpha, inputs.rng)
                term = PenaltyTerm(penalty, backend, x)
            self.optimizer.zero_grad()
            stats = self._plan.gradients(inputs, term)
            # Not on a GPU, which this would wait for, nor among processes, of which the others would wait for this one.
            if not real.is_cuda and self.process_group is None:
                refuse_not_finite(inputs, stats)
            learned = self._plan.learned
            if len(learned) != self._learned:  # at the first step, and if the critic grows
                check_holds(self.optimizer, self.settings.critic, learned)
                self._learned = len(learned)
            if self.process_group is not None:
                average_gradients(self.optimizer, self.process_group)
            update(self.optimizer, self.max_grad_norm, self.settings.scaler, self.max_weight)
        return stats

    def state_dict(self) -> dict[str, Any]:
        """The state that the next step depends on, besides the critic and its optimizer: the number of steps (for
        ``lazy``), whether steps run on one CPU thread, and whether the critic was found to couple its samples a little,
        which it may do more once it is trained."""
        return {"steps": self.steps, "serial": self._plan.serial, "couples": self._identity().known()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a ``state_dict``."""
        self.steps = int(state["steps"])
        self._plan.restore(state["serial"])
        if state.get("couples") is not None:
            self._identity().remember(state["couples"])

    def _identity(self) -> Identity:
        return Identity(self.settings.critic, self.penalty is not None and self.penalty.allow_batch_coupling)


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
    check_step(optimizer)
    if penalty is not None and not isinstance(penalty, Penalty):
        raise TypeError(f"penalty is a {type(penalty).__name__}; expected gpgan.Penalty(weight=10.0) or None")
    pair = isinstance(objective, tuple) and len(objective) == 2 and all(callable(term) for term in objective)
    if not (pair or callable(objective)):
        raise TypeError(
            f'objective is a {type(objective).__name__}; expected an Objective, e.g. gpgan.objectives.get("hinge"), a pair '
            "of functions (real_term, fake_term), each from scores to a 0-d loss, or one function of (real scores, fake scores)"
        )
    if isinstance(lazy, bool) or not isinstance(lazy, int) or lazy < 1:
        raise ValueError(f"lazy is {lazy!r}; expected a whole number, 1 or above: the penalty at every k-th step")
    if autocast not in (None, torch.bfloat16, torch.float16):
        raise ValueError(f"autocast is {autocast!r}; expected torch.bfloat16, torch.float16 or None")
    if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
        raise TypeError(f"scaler is a {type(scaler).__name__}; expected a torch.amp.GradScaler or None")
    if autocast == torch.float16 and scaler is None:
        raise ValueError(
            "autocast is torch.float16 and scaler is None: gradients would underflow; expected "
            "scaler=torch.amp.GradScaler(device), or autocast=torch.bfloat16"
        )
    if process_group is not None and not isinstance(process_group, dist.ProcessGroup):
        raise TypeError(
            f"process_group is a {type(process_group).__name__}; expected a torch.distributed.ProcessGroup, e.g. "
            "torch.distributed.group.WORLD after init_process_group"
        )
