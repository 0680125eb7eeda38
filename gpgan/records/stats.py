"""The numbers of a run, gathered on the device and read once a tick."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpgan.critic.common import CriticStats
from gpgan.objectives.objective import Objective, loss_of
from gpgan.util.processes import Processes


@dataclass(frozen=True)
class Stats:
    """One line of stats.jsonl: means over the critic or generator steps since the line before, maxima likewise.

    Attributes:
        step: Generator steps so far.
        images: Real samples the critic has seen so far, over all processes.
        seconds: Time spent training so far, earlier parts of a resumed run included.
        critic_loss: That of the objective plus the penalty.
        generator_loss: That of the objective.
        estimate: The critic's estimate of the objective's divergence on training data: mean f(real) - mean f(fake) for
            the Wasserstein distance; see ``gpgan.objectives.Objective.estimate``.
        held_out: The same on data never trained on, at this step; None without such data.
        penalty: The weighted gradient penalty, as are the three norms over the steps that have one; None where no step has.
        norm_mean: The gradient's norm at the penalty's points.
        norm_std: Its standard deviation.
        norm_max: The largest.
        images_per_second: Since the line before.
        memory: MiB: the process's largest resident set so far; on a GPU the largest that torch had allocated.
    """

    step: int
    images: int
    seconds: float
    critic_loss: float
    generator_loss: float
    estimate: float
    held_out: float | None
    penalty: float | None
    norm_mean: float | None
    norm_std: float | None
    norm_max: float | None
    images_per_second: float
    memory: float


class NotFiniteError(FloatingPointError):
    """A loss is NaN or infinite.

    Attributes:
        name: Of the loss.
        value: What it is.
        step: The generator step at which it was first so.
    """

    def __init__(self, name: str, value: float, step: int) -> None:
        super().__init__(f"{name} is {value} at step {step}")
        self.name, self.value, self.step = name, value, step


class Meter:
    """What the steps since the last reading gave; nothing is computed or read from the device before it is asked for."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._waiting: list[tuple[int, list[CriticStats], Tensor]] = []
        self._values: dict[str, list[Tensor]] = {}

    def add(self, step: int, critic: list[CriticStats], generator_loss: Tensor) -> None:
        """Takes what one generator step gave."""
        self._waiting.append((step, critic, generator_loss))

    def read(self, processes: Processes, keep: bool = False) -> dict[str, float | None]:
        """The numbers since the last reading, by their names in ``Stats``; with ``keep`` the next reading has them, too.

        ``check`` comes first, in all processes: a number that is not finite goes into the means.
        """
        values = self._gathered()
        if not keep:
            self._values = {}
        means = {name: value.mean() for name, value in values.items() if name not in ("step", "norm_max")}
        merged: dict[str, float | None] = dict.fromkeys(("penalty", "norm_mean", "norm_std", "norm_max"))
        merged.update(zip(means, processes.mean(torch.stack(list(means.values()))).tolist(), strict=True))
        if "norm_max" in values:
            mean, square = float(merged["norm_mean"] or 0), float(merged.pop("norm_square") or 0)
            merged["norm_std"] = max(square - mean**2, 0.0) ** 0.5
            merged["norm_max"] = float(processes.maximum(values["norm_max"].amax()))
        return merged

    def check(self) -> None:
        """Raises NotFiniteError where a loss that was added is not finite."""
        values = self._gathered()
        wrong = []
        for name in ("critic_loss", "generator_loss"):
            losses = values.get(name, torch.zeros(0))
            places = (~losses.isfinite()).nonzero()
            if len(places):
                first = int(places[0])
                every = len(losses) // len(values["step"])
                wrong.append((int(values["step"][first // every]), name, float(losses[first])))
        if wrong:  # a step's critic comes before its generator, in the alphabet as in time
            step, name, value = min(wrong)
            raise NotFiniteError(name, value, step)

    def state_dict(self) -> dict[str, Tensor]:
        """The numbers of the steps since the last reading."""
        return self._gathered()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from ``state``."""
        self._waiting, self._values = [], {name: [value] for name, value in state.items()}

    def _gathered(self) -> dict[str, Tensor]:
        """Name to float64 ``[n]``, one number a critic or generator step, on the CPU; in one transfer for each name."""
        if self._waiting:
            steps, critics, losses = zip(*self._waiting, strict=True)
            stats = [each for critic in critics for each in critic]
            own = [loss_of(each.objective, each.real_scores, each.fake_scores) for each in stats]
            taken: dict[str, list[Tensor]] = {
                "step": [torch.tensor(steps)],
                "generator_loss": list(losses),
                "critic_loss": [
                    loss if each.penalty is None else loss + each.penalty for loss, each in zip(own, stats, strict=True)
                ],
                "estimate": [self._objective.per_loss * (self._objective.chance - torch.stack(own).double())],
            }
            penalties = [each.penalty for each in stats if each.penalty is not None]
            if penalties:  # a lazy one comes now and then
                norms = torch.stack([each.norms for each in stats if each.norms is not None]).double()
                taken["penalty"] = penalties
                taken["norm_mean"], taken["norm_square"] = [norms.mean(1)], [norms.square().mean(1)]
                taken["norm_max"] = [norms.amax(1)]
            for name, values in taken.items():
                stacked = torch.cat([value.detach().reshape(-1) for value in values])
                self._values.setdefault(name, []).append(stacked.double().cpu())
            self._waiting = []
        self._values = {name: [torch.cat(values)] for name, values in self._values.items()}
        return {name: values[0] for name, values in self._values.items()}


def memory(device: torch.device) -> float:
    """MiB, as ``Stats.memory`` says."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def as_line(stats: Stats) -> dict[str, Any]:
    """A line's values, rounded to what is known of them where that is little."""
    values = dict(vars(stats))
    for name, digits in (("seconds", 3), ("images_per_second", 1), ("memory", 1)):
        values[name] = round(values[name], digits)
    return values


def summary(stats: Stats, symbol: str) -> str:
    """A line's values in a few words, ``symbol`` being that of the objective's divergence."""
    held_out = "" if stats.held_out is None else f" (held out {stats.held_out:.3f})"
    words = f"{symbol} {stats.estimate:.3f}{held_out}"
    if stats.penalty is not None:
        words += f"  penalty {stats.penalty:.3f}  |grad| {stats.norm_mean:.3f} +- {stats.norm_std:.3f}"
    return words
