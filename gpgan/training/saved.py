"""Opens a saved run, for sampling, evaluation and export."""

from __future__ import annotations

import contextlib
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gpgan.data import Dataset, load, split
from gpgan.data.facts import Facts, seeds
from gpgan.records import checkpoint, trust
from gpgan.settings.config import RunConfig
from gpgan.tasks.configure import from_settings
from gpgan.tasks.task import Task
from gpgan.training.content import check_content, reading
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
        trust_code: Whether to import the code that the settings name, whoever trained the run.
    """

    run: Path
    config: RunConfig
    task: Task
    facts: Facts
    state: dict[str, Any]
    problems: list[str]
    trust_code: bool = False

    def original(self, samples: Tensor) -> Tensor:
        """Samples scaled back to the values of the data."""
        return samples * self.facts.scale + self.facts.offset

    def dataset(self) -> Dataset:
        """The run's data set, split.

        Raises:
            ValueError: It cannot be read, has changed, or is made by code that is not trusted.
        """
        if not self.trust_code:
            code = trust.code_of(self.config)
            trust.check(self.run, self.state.get("id"), {name: code[name] for name in code if name == "data"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # They were given when the run began.
            dataset = load(self.config.data, size=self.config.size or None)
        if dataset.fingerprint() != self.facts.fingerprint:
            raise ValueError(
                f"the data of {self.run} changed since it was saved; expected the same data: {self.config.data}"
                f"{seeds(self.config.data)}"
            )
        return split(dataset, type(self.task).set_aside(self.config, dataset))


def open_run(run: Path, trust_code: bool = False, *, best: bool = False) -> Saved:
    """Opens a run's folder. Writes nothing, so the run may be training.

    Args:
        run: The folder.
        trust_code: Import the code that the run's settings name as module:attribute, even if there is no record that
            the user trained the run with it.
        best: Open the best checkpoint, not the newest.

    Raises:
        ValueError: It has no intact checkpoint, it was trained with the user's own modules passed as objects, which
            cannot be rebuilt from the run, or its settings name code that is not trusted.
    """
    state, path, problems = checkpoint.newest(run, best)
    check_content(state, path)
    with reading(path):
        cls, config = from_settings(json.loads(state["config"]))
        config = replace(config, device="cpu")
        facts = Facts.read(state["data"])
    code = trust.code_of(config, without=["data"])
    if not trust_code:
        trust.check(run, state.get("id"), code)
    # The user's own networks raise their own errors.
    with contextlib.nullcontext() if code else reading(path):
        task: Task = cls(config, facts, {})
    try:
        with reading(path):
            task.load_networks(state)
    except checkpoint.CheckpointError as error:
        if not isinstance(error.__cause__, RuntimeError):
            raise
        raise ValueError(
            f"{run} was trained with custom networks passed as objects ({first_line(error.__cause__)}); expected a run with "
            f"gpgan's own networks, or with networks named as module:attribute in its settings"
        ) from error
    return Saved(run, config, task, facts, state, problems, trust_code)
