"""A whole critic step as one CUDA graph, replayed with a single launch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gpgan.critic.common import CriticStats, Inputs
from gpgan.penalty import Penalty

# Ordinary steps on the capturing stream before the capture, in which libraries choose their algorithms.
WARM_UP = 3

Update = Callable[[Inputs, Penalty | None], CriticStats]


def why_not(inputs: Inputs, distributed: bool) -> str | None:
    """Why a step on these inputs cannot be captured; None if it can."""
    if not inputs.real.is_cuda:
        return f"the samples are on {inputs.real.device}"
    if distributed:
        return "gradients are averaged over processes"
    if inputs.args or inputs.kwargs:
        return "the critic takes more than samples"
    return None


@dataclass
class _Capture:
    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    stats: CriticStats
    packed: Tensor

    def replay(self, inputs: Inputs) -> CriticStats:
        self.inputs.real.copy_(inputs.real)
        self.inputs.fake.copy_(inputs.fake)
        if self.inputs.alpha is not None and inputs.alpha is not None:
            self.inputs.alpha.copy_(inputs.alpha)
        self.graph.replay()
        # The next replay overwrites the graph's results.
        return _unpack(self.packed.clone(), self.stats)


def _parts(stats: CriticStats) -> list[Tensor]:
    return [part for part in (stats.real_scores, stats.fake_scores, stats.penalty, stats.norms) if part is not None]


def _pack(stats: CriticStats) -> Tensor:
    parts = _parts(stats)
    dtype = functools.reduce(torch.promote_types, (part.dtype for part in parts))
    return torch.cat([part.detach().reshape(-1).to(dtype) for part in parts])


def _unpack(packed: Tensor, like: CriticStats) -> CriticStats:
    parts = _parts(like)
    values = [
        value.view(part.shape).to(part.dtype)
        for value, part in zip(torch.split(packed, [part.numel() for part in parts]), parts, strict=True)
    ]
    return replace(
        like,
        real_scores=values[0],
        fake_scores=values[1],
        penalty=values[2] if len(values) > 2 else None,
        norms=values[3] if len(values) > 2 else None,
    )


class CudaGraphs:
    """Steps that are captured once for each shape, with and without penalty, and then replayed."""

    def __init__(self, update: Update, optimizer: torch.optim.Optimizer) -> None:
        self.update, self.optimizer = update, optimizer
        self.stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.done: dict[object, int] = {}
        self.captures: dict[object, _Capture] = {}
        self.rates = _capturable(optimizer)

    def __call__(self, inputs: Inputs, penalty: Penalty | None) -> CriticStats:
        """One step. Raises RuntimeError if it cannot be captured; nothing is updated then."""
        self._learning_rates()
        key = (inputs.real.shape, inputs.real.dtype, inputs.alpha is None, id(inputs.rng), penalty)
        if key not in self.captures:
            done = self.done[key] = self.done.get(key, 0) + 1
            if done <= WARM_UP:
                return self._warm_up(inputs, penalty)
            self.captures[key] = self._capture(inputs, penalty)
        return self.captures[key].replay(inputs)

    def _warm_up(self, inputs: Inputs, penalty: Penalty | None) -> CriticStats:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            stats = self.update(inputs, penalty)
        torch.cuda.current_stream().wait_stream(self.stream)
        return stats

    def _capture(self, inputs: Inputs, penalty: Penalty | None) -> _Capture:
        alpha = None if inputs.alpha is None else inputs.alpha.clone()
        static = replace(inputs, real=inputs.real.clone(), fake=inputs.fake.clone(), alpha=alpha)
        graph = torch.cuda.CUDAGraph()
        if inputs.rng is not None:
            graph.register_generator_state(inputs.rng)
        with torch.cuda.graph(graph, stream=self.stream):
            stats = self.update(static, penalty)
            packed = _pack(stats)
        return _Capture(graph, static, stats, packed)

    def _learning_rates(self) -> None:
        """Copies a learning rate that was set since the last step to the tensor that the graph reads."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            if group["lr"] is not rate:
                if isinstance(rate, Tensor):
                    rate.fill_(group["lr"])
                    group["lr"] = rate
                elif group["lr"] != rate:
                    raise RuntimeError(
                        f"the learning rate of {type(self.optimizer).__name__}, which has no capturable form, changed"
                    )


def _capturable(optimizer: torch.optim.Optimizer) -> list[Tensor | float]:
    """Moves an optimizer's step counts and learning rates to the device, if it is capturable. Returns its rates."""
    for group in optimizer.param_groups:
        if "capturable" in group:
            device = group["params"][0].device
            group["capturable"] = True
            if not isinstance(group["lr"], Tensor):
                group["lr"] = torch.tensor(float(group["lr"]), device=device)
            for parameter in group["params"]:
                state = optimizer.state.get(parameter, {})
                if isinstance(state.get("step"), Tensor):
                    state["step"] = state["step"].to(device)
    return [group["lr"] for group in optimizer.param_groups]
