"""What can be trained, as the trainer sees it: a task has modules, makes steps and names its numbers.

The trainer, its records and the commands know this protocol and no network by name.
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
from gpgan.metrics.evaluation import Evaluation
from gpgan.settings.config import RunConfig
from gpgan.util.processes import Processes


@dataclass(frozen=True)
class Curve:
    """A named number over the steps.

    Attributes:
        name: Of the number.
        label: In the legend.
        deviation: The name of its standard deviation, drawn as a band; "" for none.
        largest: It is a maximum, drawn as a thin grey line.
    """

    name: str
    label: str
    deviation: str = ""
    largest: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel of curves.png.

    Attributes:
        title: Above it.
        unit: Of its axis.
        curves: From back to front.
        level: A value and its label, drawn as a dashed line; None for none.
        empty: Said where no number is known.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]
    level: tuple[float, str] | None = None
    empty: str = "no numbers yet"


@dataclass(frozen=True)
class Number:
    """How a named number is told.

    Attributes:
        label: In a report, e.g. "Critic loss".
        column: The head of its column in ``gpgan ls``; "" for none.
    """

    label: str
    column: str = ""


class Task(Protocol):
    """One training: its networks, its step, its numbers and its pictures.

    A task is made from a configuration and the facts of the data alone, which is enough to load a saved run and to use
    its sampler; ``prepare`` then makes it ready for training.

    Attributes:
        config_class: The class of its settings, with the task's own options under ``task``.
        modules: By name: saved, given the same weights in all processes, checked for finite numbers.
        sampler: What pictures, ``sample``, ``eval`` and ``export`` run.
        panels: What curves.png draws.
        numbers: How its numbers are told.
        warnings: What is known to go wrong with this configuration; filled by ``prepare``.
        samples_per_step: Real samples that one step sees, over all processes.
        penalised: Whether a gradient penalty is taken.
    """

    config_class: ClassVar[type[RunConfig]]
    modules: Mapping[str, nn.Module]
    sampler: nn.Module
    panels: Sequence[Panel]
    numbers: Mapping[str, Number]
    warnings: Sequence[str]
    samples_per_step: int
    penalised: bool

    def __init__(self, config: Any, facts: Facts, modules: Mapping[str, nn.Module]) -> None:
        """Builds the networks.

        Args:
            config: Of the class ``config_class``, resolved.
            facts: Of the data.
            modules: The user's own, by the names in ``modules``; the rest is built.
        """

    @classmethod
    def defaults(cls, data: str, dataset: Dataset) -> Any:
        """The settings for a data set, as a ``config_class``."""

    @classmethod
    def resolve(cls, config: Any, dataset: Dataset, processes: Processes) -> Any:
        """The configuration with the task's own settings decided; raises ValueError where they do not fit the data."""

    def prepare(self, dataset: Dataset, processes: Processes) -> None:
        """Makes the task ready for its first step."""

    def title(self) -> str:
        """What is trained, in a few words: "conv networks"."""

    def step(self, n: int) -> Mapping[str, Tensor]:
        """Every update of step n, counted from 1, and its numbers, each ``[k]`` for the k values that the step saw.

        They stay on the device. Over a tick the mean of each is taken, and the maximum of those whose name ends in
        ``_max``. Those whose name ends in ``_loss`` must be finite.
        """

    def summarise(self, values: Mapping[str, float]) -> dict[str, float | None]:
        """From the means and maxima of a tick to the numbers that are reported; None for what is not known."""

    def held_out(self, n: int) -> Mapping[str, float | None]:
        """Numbers on data that is never trained on, after step n; all processes call it. It leaves no trace."""

    def score(self, numbers: Mapping[str, float | None]) -> float:
        """What decides the best checkpoint: lower is better."""

    def describe(self, numbers: Mapping[str, float | None]) -> str:
        """The numbers in a few words, for the console and the log."""

    def cure(self) -> str:
        """What to try where the training diverged."""

    def signature(self) -> dict[str, Any]:
        """What the sampler takes, for the metadata of its weights: plain values."""

    def inputs(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """What the sampler takes, ``count`` rows each: latents and labels; low resolution; masked volumes."""

    def picture(self, path: Path, seed: int, title: str) -> None:
        """Writes a picture of what the sampler makes of the inputs of a seed."""

    def reals(self, path: Path) -> None:
        """Writes a picture of real samples."""

    def sample(
        self,
        count: int,
        rng: torch.Generator,
        data: Callable[[], Dataset],
        *,
        truncation: float | None = None,
        source: Path | None = None,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Inputs and the sampler's outputs, as ``gpgan sample`` asks for them.

        Args:
            count: How many.
            rng: On the CPU.
            data: Reads the run's data, for tasks whose inputs come from it.
            truncation: Cut the latents' normal distribution off here.
            source: A folder of inputs.

        Raises:
            ValueError: The task has no latents, or takes no inputs from a folder.
        """

    def note(self) -> str:
        """What a user has to know of the order of samples; "" for nothing."""

    def draw(self, path: Path, inputs: tuple[Tensor, ...], samples: Tensor, title: str) -> None:
        """Writes a picture of ``samples``, beside the inputs they were made from if these can be shown."""

    def evaluation(self, dataset: Dataset, count: int, seed: int) -> Evaluation:
        """Samples and what they are compared with, for the metrics.

        Args:
            dataset: After its split.
            count: How many samples.
            seed: Same seed, same samples.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from ``state``."""

    def load_networks(self, state: Mapping[str, Any]) -> None:
        """Only the networks of ``state``, in eval mode, ``sampler`` with the weights that samples are taken from."""
