"""The numbers of a run: collected on the device, read once per tick."""

from __future__ import annotations

import math
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
        seconds: Training time so far, including earlier parts of a resumed run.
        images_per_second: Real samples per second since the previous line.
        memory: In MiB, the process's peak resident set size; on a GPU the peak that torch allocated.
        numbers: What the task reports, by name: means and maxima over the steps since the previous line, and numbers on
            held-out data at this step; None if unknown.
        cpu_seconds: CPU time of this process so far, over all its threads, including earlier parts of a resumed run.
    """

    step: int
    images: int
    seconds: float
    images_per_second: float
    memory: float
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    def __getattr__(self, name: str) -> float | None:
        # Only for names that are not fields. A copy that is being made has no numbers yet.
        numbers: Mapping[str, float | None] = self.__dict__.get("numbers", {})
        if name in numbers:
            return numbers[name]
        raise AttributeError(f"unknown number {name!r}; this task reports {', '.join(numbers)}")

    def as_line(self) -> dict[str, Any]:
        """The values by name; times, rates and memory are rounded to their precision. None for what is not finite."""
        numbers = {
            name: value if value is None or math.isfinite(value) else None for name, value in self.numbers.items()
        }
        times = {"seconds": round(self.seconds, 3), "cpu_seconds": round(self.cpu_seconds, 3)}
        values = {"step": self.step, "images": self.images, **times, **numbers}
        return {**values, "images_per_second": round(self.images_per_second, 1), "memory": round(self.memory, 1)}


class NotFiniteError(FloatingPointError):
    """A loss is NaN or infinite.

    Attributes:
        name: Of the loss.
        value: Of the loss.
        step: The first step at which it was not finite.
    """

    def __init__(self, name: str, value: float, step: int) -> None:
        super().__init__(f"{name} is {value} at step {step}")
        self.name, self.value, self.step = name, value, step


class Meter:
    """Collects the numbers of the steps since the last read; they stay on the device until then."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Mapping[str, Tensor]]] = []
        self._values: dict[str, list[Tensor]] = {}

    def add(self, step: int, numbers: Mapping[str, Tensor]) -> None:
        """Adds the numbers of one step: see ``Task.step``."""
        self._waiting.append((step, numbers))

    def read(self, processes: Processes, keep: bool = False) -> dict[str, float]:
        """Means, or maxima if the name ends in ``_max``, since the last read; ``keep`` leaves them for the next read.

        All processes must call ``check`` first: this averages numbers that are not finite without an error.
        """
        values = self._gathered()
        if not keep:
            self._values = {}
        means = {name: each.mean() for name, each in values.items() if name != "step" and not name.endswith("_max")}
        merged = dict(zip(means, processes.mean(torch.stack(list(means.values()))).tolist(), strict=True))
        largest = {name: each.amax() for name, each in values.items() if name.endswith("_max")}
        return merged | {name: float(processes.maximum(each)) for name, each in largest.items()}

    def check(self) -> None:
        """Raises NotFiniteError if a number whose name ends in ``_loss`` is not finite."""
        values = self._gathered()
        wrong = []
        for order, (name, losses) in enumerate(values.items()):
            places = (~losses.isfinite()).nonzero() if name.endswith("_loss") else losses[:0]
            if len(places):
                first = int(places[0])
                every = len(losses) // len(values["step"])
                wrong.append((int(values["step"][first // every]), order, name, float(losses[first])))
        if wrong:  # of one step, the number that comes first in it
            step, _, name, value = min(wrong)
            raise NotFiniteError(name, value, step)

    def state_dict(self) -> dict[str, Tensor]:
        """The numbers of the steps since the last read."""
        return self._gathered()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continues from ``state``."""
        self._waiting, self._values = [], {name: [value] for name, value in state.items()}

    def _gathered(self) -> dict[str, Tensor]:
        """Names to float64 ``[n]`` on the CPU, the steps' values concatenated; one transfer per name."""
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
    """See ``Stats.memory``."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
