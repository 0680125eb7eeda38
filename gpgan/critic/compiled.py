"""The scheduled path, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.critic.common import CriticStats
from gpgan.critic.scheduled import Scheduled
from gpgan.penalty import Penalty
from gpgan.schedule import products
from gpgan.schedule.maps import Gradients
from gpgan.schedule.tape import Unsupported


class NotCompiled(Exception):
    """torch.compile could not do it, for want of a C++ compiler perhaps."""


class Compiled(Scheduled):
    """The schedule's sweeps, traced once for each kind of batch and compiled by inductor."""

    def __init__(self, scheduled: Scheduled) -> None:
        self.scheduled = scheduled
        self.settings, self.form, self.apart = scheduled.settings, scheduled.form, scheduled.apart
        self.serial = scheduled.serial
        self.memory_format = torch.contiguous_format  # inductor lays out what it computes by itself
        self.plan = f"{scheduled.plan}, traced and compiled"
        self._programs: dict[Any, tuple[Callable[[Tensor], tuple[Any, ...]], list[nn.Parameter]]] = {}

    def _sweep(self, batch: Tensor, penalty: Penalty | None) -> tuple[CriticStats, Gradients]:
        kind = (penalty, batch.shape, batch.dtype)
        if kind not in self._programs:
            try:
                self._programs[kind] = self._compile(batch, penalty)
            except Unsupported:
                raise
            except Exception as error:
                reason = " ".join((str(error) or type(error).__name__).split("\n\n")[0].split())
                raise NotCompiled(reason) from error
        program, parameters = self._programs[kind]
        real, fake, value, norms, *gradients = program(batch)
        stats = CriticStats(real, fake, value, norms, self.settings.objective)
        return stats, dict(zip(parameters, gradients, strict=True))

    def _compile(self, batch: Tensor, penalty: Penalty | None) -> Any:
        # Slow to import, and rarely needed.
        import torch._inductor as inductor
        from torch.fx.experimental.proxy_tensor import make_fx

        parameters: list[nn.Parameter] = []

        def sweep(batch: Tensor) -> tuple[Any, ...]:
            stats, gradients = super(Compiled, self)._sweep(batch, penalty)
            parameters[:] = gradients
            return stats.real_scores, stats.fake_scores, stats.penalty, stats.norms, *gradients.values()

        # A clone: the sweeps write into their batch.
        with products.traced():
            graph = make_fx(sweep, tracing_mode="real")(batch.clone())
        # Without a Python call for each operation, which on small critics takes longer than the operation.
        options = {} if batch.is_cuda else {"cpp_wrapper": True}
        # Not torch.compile: its guards take 40 us a step, and what they watch is fixed here.
        program = inductor.compile(graph, [batch.clone()], options=options)
        program(batch.clone())
        return program, parameters
