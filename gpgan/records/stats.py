"""The numbers of a run, gathered on the device and read once per tick."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gpgan.util.processes import Processes


@dataclass(frozen=True)
class Stats:
    """One line of stats.jsonl. The task's numbers can also be read as attributes: ``stats.estimate``.

    Attributes:
        step: Steps so far.
        images: Real samples seen so far, over all processes.
        seconds: Time spent training so far, earlier parts of a resumed run included.
        images_per_second: Since the line before.
        memory: MiB: the process's largest resident set so far; on a GPU the largest that torch had allocated.
        numbers: What the task reports, by name: means and maxima over the steps since the line before, and numbers on
            held-out data at this step; None for what is not known.
    """

    step: int
    images: int
    seconds: float
    images_per_second: float
    memory: float
    numbers: Mapping[str, float | None] = field(default_factory=dict)

    def __getattr__(self, name: str) -> float | None:
        # Only for names that are not fields; "numbers" itself is asked for while a copy is being made.
        if name != "numbers" and name in self.numbers:
            return self.numbers[name]
        raise AttributeError(f"there is no number {name!r}; this task reports {', '.join(self.numbers)}")

    def as_line(self) -> dict[str, Any]:
        """The values by name, rounded to what is known of them where that is little."""
        values = {"step": self.step, "images": self.images, "seconds": round(self.seconds, 3), **self.numbers}
        return {**values, "images_per_second": round(self.images_per_second, 1), "memory": round(self.memory, 1)}


class NotFiniteError(FloatingPointError):
    """A loss is NaN or infinite.

    Attributes:
        name: Of the loss.
        value: What it is.
        step: The step at which it was first so.
    """

    def __init__(self, name: str, value: float, step: int) -> None:
        super().__init__(f"{name} is {value} at step {step}")
        self.name, self.value, self.step = name, value, step


class Meter:
    """What the steps since the last reading gave; nothing is read from the device before it is asked for."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Mapping[str, Tensor]]] = []
        self._values: dict[str, list[Tensor]] = {}

    def add(self, step: int, numbers: Mapping[str, Tensor]) -> None:
        """Takes what one step gave: see ``Task.step``."""
        self._waiting.append((step, numbers))

    def read(self, processes: Processes, keep: bool = False) -> dict[str, float]:
        """Means, and maxima of what ends in ``_max``, since the last reading; with ``keep`` the next one has them, too.

        ``check`` comes first, in all processes: a number that is not finite goes into the means.
        """
        values = self._gathered()
        if not keep:
            self._values = {}
        means = {name: each.mean() for name, each in values.items() if name != "step" and not name.endswith("_max")}
        merged = dict(zip(means, processes.mean(torch.stack(list(means.values()))).tolist(), strict=True))
        largest = {name: each.amax() for name, each in values.items() if name.endswith("_max")}
        return merged | {name: float(processes.maximum(each)) for name, each in largest.items()}

    def check(self) -> None:
        """Raises NotFiniteError where a number whose name ends in ``_loss`` is not finite."""
        values = self._gathered()
        wrong = []
        for name, losses in values.items():
            places = (~losses.isfinite()).nonzero() if name.endswith("_loss") else losses[:0]
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
        """Continues from ``state``."""
        self._waiting, self._values = [], {name: [value] for name, value in state.items()}

    def _gathered(self) -> dict[str, Tensor]:
        """Name to float64 ``[n]``, each step's values one after the other, on the CPU; one transfer per name."""
        if self._waiting:
            taken: dict[str, list[Tensor]] = {"step": [torch.tensor([step for step, _ in self._waiting])]}
            for _, numbers in self._waiting:
                for name, value in numbers.items():
                    taken.setdefault(name, []).append(value)
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
