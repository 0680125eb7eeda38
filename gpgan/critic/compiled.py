"""The scheduled path, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.critic.common import CriticStats, Inputs, PenaltyTerm
from gpgan.critic.scheduled import Scheduled
from gpgan.schedule import products
from gpgan.schedule.maps import Gradients
from gpgan.schedule.tape import Unsupported
from gpgan.torch_private import compile_by_inductor


class NotCompiled(Exception):
    """torch.compile failed, e.g. without a C++ compiler."""


class Compiled:
    """The sweeps of a schedule, traced once for each batch shape and penalty, and compiled by inductor."""

    def __init__(self, scheduled: Scheduled) -> None:
        self.scheduled, self.cost, self.serial = scheduled, scheduled.cost, scheduled.serial
        self._programs: dict[Any, tuple[Callable[[Tensor], tuple[Any, ...]], list[nn.Parameter]]] = {}

    @property
    def learned(self) -> list[nn.Parameter]:
        return self.scheduled.learned

    def __call__(self, inputs: Inputs, term: PenaltyTerm | None) -> CriticStats:
        # Inductor chooses the layout of what it computes.
        return self.scheduled.apply(self._sweep, torch.contiguous_format, inputs, term)

    def _sweep(self, batch: Tensor, term: PenaltyTerm | None) -> tuple[CriticStats, Gradients]:
        key = (None if term is None else term.penalty, batch.shape, batch.dtype)
        if key not in self._programs:
            try:
                self._programs[key] = self._compile(batch, term)
            except Unsupported:
                raise
            except Exception as error:
                reason = " ".join((str(error) or type(error).__name__).split("\n\n")[0].split())
                raise NotCompiled(reason) from error
        program, parameters = self._programs[key]
        real, fake, value, norms, *gradients = program(batch)
        stats = CriticStats(real, fake, value, norms, self.scheduled.settings.objective)
        return stats, dict(zip(parameters, gradients, strict=True))

    def _compile(self, batch: Tensor, term: PenaltyTerm | None) -> Any:
        parameters: list[nn.Parameter] = []

        def sweep(batch: Tensor) -> tuple[Any, ...]:
            stats, gradients = self.scheduled.sweep(batch, term)
            parameters[:] = gradients
            return stats.real_scores, stats.fake_scores, stats.penalty, stats.norms, *gradients.values()

        # On small critics a Python call per operation takes longer than the operation.
        options = {} if batch.is_cuda else {"cpp_wrapper": True}
        # Not torch.compile: its guards take 40 us per step, and what they watch is fixed here.
        with products.traced():
            program = compile_by_inductor(sweep, batch, options)
        program(batch.clone())  # the sweeps write into their batch
        return program, parameters
