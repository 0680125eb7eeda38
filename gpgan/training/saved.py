"""Opens a saved run, for sampling, evaluation and export."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gpgan.data import Dataset, load, split
from gpgan.data.facts import Facts, seeds
from gpgan.records import checkpoint
from gpgan.settings.config import RunConfig
from gpgan.tasks.configure import from_settings
from gpgan.tasks.task import Task
from gpgan.training.trainer import check_format
from gpgan.util.errors import first_line


@dataclass(frozen=True)
class Saved:
    """The newest intact checkpoint of a run.

    Attributes:
        run: The folder.
        config: The run's configuration, with device "cpu".
        task: With the networks of the checkpoint, on the CPU.
        facts: Of the data.
        state: The content of the checkpoint.
        problems: What is wrong with newer checkpoints.
    """

    run: Path
    config: RunConfig
    task: Task
    facts: Facts
    state: dict[str, Any]
    problems: list[str]

    def original(self, samples: Tensor) -> Tensor:
        """Samples scaled back to the values of the data."""
        return samples * self.facts.scale + self.facts.offset

    def dataset(self) -> Dataset:
        """The run's data set, split.

        Raises:
            ValueError: It cannot be read, or has changed.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # They were given when the run began.
            dataset = load(self.config.data, size=self.config.size or None)
        if dataset.fingerprint() != self.facts.fingerprint:
            raise ValueError(
                f"the data of {self.run} changed since it was saved; expected the same data: {self.config.data}"
                f"{seeds(self.config.data)}"
            )
        return split(dataset)


def open_run(run: Path) -> Saved:
    """Opens a run's folder.

    Raises:
        ValueError: It has no intact checkpoint, or it was trained with the user's own modules passed as objects, which
            cannot be rebuilt from the run.
    """
    state, path, problems = checkpoint.newest(run)
    check_format(state, path)
    cls, config = from_settings(json.loads(state["config"]))
    config = replace(config, device="cpu")
    facts = Facts.read(state["data"])
    task: Task = cls(config, facts, {})
    try:
        task.load_networks(state)
    except RuntimeError as error:
        raise ValueError(
            f"{run} was trained with custom networks passed as objects ({first_line(error)}); expected a run with "
            f"gpgan's own networks, or with networks named as module:attribute in its settings"
        ) from error
    return Saved(run, config, task, facts, state, problems)
