"""The path for any critic: autograd with the pruned penalty."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from gpgan.critic.common import NOTHING_TO_LEARN, SERIAL, CriticStats, Inputs, PenaltyTerm, Settings
from gpgan.critic.observations import warn_if_bounded
from gpgan.critic.optimizer import identities
from gpgan.penalty import graph
from gpgan.penalty.calls import call
from gpgan.penalty.checks import check_scores, twice
from gpgan.penalty.value import penalty_at
from gpgan.torch_private import has_gradient_hooks, outside_of_compiled_graphs

# A count outside of these limits, in F, has missed operators without a formula. Each further batch of points adds at
# most MORE.
LEAST, MOST, MORE = 3.0, 14.0, 8.0

_penalty_at = outside_of_compiled_graphs(penalty_at)


class General:
    """Autograd: the real term, the fake term and the pruned penalty one after the other. Each graph is freed before the
    next is built, except that a paired objective needs the graphs of both forwards at once."""

    def __init__(self, settings: Settings, why: str) -> None:
        """why: The reason why the critic cannot be scheduled."""
        self.settings, self.why = settings, why
        self.cost: float | None = None
        self.counted = self.looked = False
        self.serial = False
        self.learned: list[Tensor] = []

    def __call__(self, inputs: Inputs, term: PenaltyTerm | None) -> CriticStats:
        if term is not None and not self.counted:
            self.counted = True
            return self._counted(inputs, term)
        return self._run(inputs, term, None)

    def _counted(self, inputs: Inputs, term: PenaltyTerm) -> CriticStats:
        from gpgan.critic.counting import counter  # slow to import, needed once

        operations = counter()
        if operations is None:
            return self._run(inputs, term, None)
        with operations:
            forward: list[int] = []
            stats = self._run(inputs, term, lambda: forward.append(operations.count))
        share = operations.count / forward[0] if forward[0] else 0.0
        if LEAST < share < MOST + MORE * (term.penalty.batches - 1):
            self.cost = share
            self.serial = operations.count < 2 * SERIAL
        return stats

    def _run(self, inputs: Inputs, term: PenaltyTerm | None, after_forward: Callable[[], None] | None) -> CriticStats:
        settings, args, kwargs = self.settings, inputs.args, dict(inputs.kwargs or {})
        backward = Backward(at_once=self._hooked())
        paired = not isinstance(settings.objective, tuple)
        scores: list[Tensor] = []
        for which, samples in enumerate((inputs.real, inputs.fake)):
            with settings.casting(samples.device):
                out = check_scores(call(settings.critic, samples.clone(), args, kwargs), len(samples))
                if not scores:
                    self._begin(out)
                    if after_forward is not None:
                        after_forward()
                if not self.looked:
                    self.looked = True
                    warn_if_bounded(out, settings.objective)
                loss = None if paired else settings.term(which, out)
            scores.append(out if loss is None else out.detach())
            if loss is not None:
                backward.add(settings.scaled(loss))
        if paired:
            with settings.casting(inputs.real.device):
                loss = settings.loss(*scores)
            backward.add(settings.scaled(loss))
            scores = [out.detach() for out in scores]
        value = norms = None
        if term is not None:
            if term.penalty.points == "both":
                args, kwargs = twice(args, kwargs)
            with settings.casting_penalty(inputs.real.device):
                value, norms = _penalty_at(settings.critic, term.x, args, kwargs, term.penalty, term.backend)
            backward.add(settings.scaled(value))
            value, norms = value.detach(), norms.detach()
        backward.finish()
        return CriticStats(scores[0], scores[1], value, norms, settings.objective)

    def _begin(self, out: Tensor) -> None:
        """Finds the parameters behind the first scores. Gradients are new at every step, also of those that the optimizer
        does not hold and has not zeroed."""
        self.learned = [] if out.grad_fn is None else graph.leaves(graph.nodes(out.grad_fn))
        held = identities(self.settings.optimizer)
        for leaf in self.learned:
            if id(leaf) not in held:
                leaf.grad = None

    def _hooked(self) -> bool:
        """Whether hooks act on the parameters' gradients, which must then come from one backward of the whole loss."""
        if isinstance(self.settings.critic, DistributedDataParallel):
            return True
        parameters = (p for group in self.settings.optimizer.param_groups for p in group["params"])
        return any(map(has_gradient_hooks, parameters))


class Backward:
    """The backward of a sum of losses: of each when it is added, which frees its graph, or of all at once."""

    def __init__(self, at_once: bool) -> None:
        self.waiting: list[Tensor] | None = [] if at_once else None

    def add(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            raise ValueError(NOTHING_TO_LEARN)
        if self.waiting is None:
            torch.autograd.backward(loss)
        else:
            self.waiting.append(loss)

    def finish(self) -> None:
        if self.waiting:
            torch.autograd.backward(torch.stack([loss.to(self.waiting[-1].dtype) for loss in self.waiting]).sum())
