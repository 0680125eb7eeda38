"""The protocol of a task: what the trainer can train. A task has modules, does steps and names its numbers.

The trainer, its records and the commands know only this protocol, and no network by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from gpgan.data import Dataset
from gpgan.data.facts import Facts
from gpgan.data.paths import Progress
from gpgan.metrics.metric import Generated
from gpgan.settings.config import RunConfig
from gpgan.util.processes import Processes


@dataclass(frozen=True)
class Curve:
    """A named number over the steps.

    Attributes:
        name: The number's name.
        label: Its label in the legend.
        deviation: The name of its standard deviation, drawn as a band; "" for none.
        largest: Whether it is a maximum, drawn as a thin grey line.
    """

    name: str
    label: str
    deviation: str = ""
    largest: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel of curves.png.

    Attributes:
        title: Shown above it.
        unit: The label of its axis.
        curves: From back to front.
        level: A value and its label, drawn as a dashed line; None for none.
        empty: Shown while no number is known.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]
    level: tuple[float, str] | None = None
    empty: str = "no numbers yet"


@dataclass(frozen=True)
class Number:
    """How a named number is shown.

    Attributes:
        label: In the report, e.g. "Critic loss".
        column: The head of its column in ``gpgan ls``; "" for none.
    """

    label: str
    column: str = ""


class Task(Protocol):
    """One training task: its networks, its step, its numbers and its pictures.

    The constructor needs only a configuration and the facts of the data, which is enough to load a saved run and use
    its sampler; ``prepare`` then makes the task ready for training.

    Attributes:
        config_class: The class of its settings, with the task's own options under ``task``.
        modules: Networks by name; they are saved, synchronised across processes and checked for finite values.
        sampler: The network that pictures, ``sample``, ``eval`` and ``export`` use.
        panels: The panels of curves.png.
        numbers: How its numbers are shown.
        warnings: Known problems of this configuration; set by ``prepare``.
        samples_per_step: Real samples per step, summed over all processes.
        free_axes: The axes of an input, besides the first, that may have any length.
        penalised: Whether it uses a gradient penalty.
        score_rises: Whether its score is low for untrained networks too, as a critic's estimate is, so that it counts only
            from its peak on.
    """

    config_class: ClassVar[type[RunConfig]]
    modules: Mapping[str, nn.Module]
    sampler: nn.Module
    panels: Sequence[Panel]
    numbers: Mapping[str, Number]
    warnings: Sequence[str]
    samples_per_step: int
    penalised: bool
    score_rises: bool
    free_axes: Sequence[int]

    def __init__(self, config: Any, facts: Facts, modules: Mapping[str, nn.Module]) -> None:
        """Builds the networks.

        Args:
            config: Of the class ``config_class``, resolved.
            facts: Of the data.
            modules: The user's own, by the names in ``modules``; the rest is built.
        """

    @classmethod
    def defaults(cls, data: str, dataset: Dataset, values: Mapping[str, Any]) -> Any:
        """The settings for a data set, as a ``config_class``; ``values``, by dotted name, will override them."""

    @classmethod
    def resolve(cls, config: Any, dataset: Dataset, processes: Processes) -> Any:
        """The configuration with the task's own settings resolved; raises ValueError if they do not fit the data."""

    def prepare(self, dataset: Dataset, processes: Processes) -> None:
        """Makes the task ready for its first step."""

    def title(self) -> str:
        """A short description of what is trained, e.g. "conv networks"."""

    def step(self, n: int) -> Mapping[str, Tensor]:
        """Does all updates of step n, counted from 1, and returns its numbers, each ``[k]`` for the step's k values.

        They stay on the device. A tick reports their means, and maxima for names that end in ``_max``. Numbers whose
        name ends in ``_loss`` must be finite.
        """

    def summarise(self, values: Mapping[str, float]) -> dict[str, float | None]:
        """Turns the means and maxima of a tick into the numbers to report; None if unknown."""

    def held_out(self, n: int) -> Mapping[str, float | None]:
        """Numbers on held-out data after step n. All processes call it; it changes no state."""

    @classmethod
    def set_aside(cls, config: Any, dataset: Dataset) -> int:
        """How many samples are neither trained on nor reported on, so that a checkpoint can be chosen by them."""

    def evaluates(self, n: int) -> bool:
        """Whether ``held_out`` measures the quality of samples after step n; a checkpoint is then saved."""

    def score(self, numbers: Mapping[str, float | None]) -> float | None:
        """What decides the best checkpoint: lower is better; None if it is not known at this step."""

    def describe(self, numbers: Mapping[str, float | None]) -> str:
        """The numbers as a short text, for the console and the log."""

    def cure(self) -> str:
        """What to try if the training diverged."""

    def signature(self) -> dict[str, Any]:
        """The sampler's input sizes as plain values, for the metadata of its weights."""

    def inputs(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """Example inputs of the sampler, ``count`` rows each: latents and labels, small images, masked volumes."""

    def picture(self, path: Path, seed: int, title: str) -> None:
        """Writes a picture of the sampler's outputs for the inputs of a seed."""

    def reals(self, path: Path) -> None:
        """Writes a picture of real samples."""

    def sample(
        self,
        count: int,
        rng: torch.Generator,
        data: Callable[[], Dataset],
        truncation: float | None = None,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The sampler's inputs and outputs for ``gpgan sample``.

        Args:
            count: The number of samples.
            rng: On the CPU.
            data: Loads the run's data, for tasks whose inputs come from it.
            truncation: Truncate the latents' normal distribution here; None for all of it.

        Raises:
            ValueError: Truncation is given and the task has no latents.
        """

    def convert(self, source: Path, out: Path, progress: Progress) -> list[str]:
        """Writes the sampler's outputs for the files in ``source`` to ``out``, under the same names.

        Args:
            source: A folder of inputs.
            out: A folder, made if it does not exist.
            progress: Called with (files done, files in all).

        Returns:
            One line per file that was skipped.

        Raises:
            ValueError: The task takes no inputs, or no file of the folder can be read.
        """

    def note(self) -> str:
        """What a user must know about the order of the samples; "" if nothing."""

    def draw(self, path: Path, inputs: tuple[Tensor, ...], samples: Tensor, title: str) -> None:
        """Writes a picture of ``samples``, next to their inputs if those can be shown."""

    def generated(self, dataset: Dataset, count: int, seed: int) -> Generated:
        """Samples for the metrics, with what belongs to them.

        Args:
            dataset: The data set, split.
            count: The number of samples.
            seed: Same seed, same samples.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from ``state``."""

    def load_networks(self, state: Mapping[str, Any]) -> None:
        """Loads only the networks of ``state``, in eval mode, with the weights for sampling in ``sampler``."""
