"""Builds a configuration: defaults for the data, then the preset, then the file, then the given settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpgan import ops
from gpgan.data import BUILT_IN, Dataset, load, split
from gpgan.data.paths import Progress
from gpgan.settings.config import RunConfig
from gpgan.settings.merging import apply, flatten, read_file, typed
from gpgan.settings.presets import PRESETS, presets_of
from gpgan.tasks.registry import DEFAULT, task_class
from gpgan.util.nearest import nearest


def configure(data: str, dataset: Dataset | None = None, *, file: Path | None = None, **settings: Any) -> Any:
    """The configuration of a run: defaults for the data, then the preset, then the file, then ``settings``.

    Args:
        data: As for ``gpgan train``.
        dataset: The data set, if it is already loaded; its shape decides the defaults.
        file: A TOML file of settings, e.g. ``steps = 1000`` and, under ``[penalty]``, ``weight = 1.0``.
        settings: Any field of the task's configuration, e.g. ``preset="wgan-gp", steps=1000, penalty={"weight": 1.0}``,
            or ``task={"name": "superresolve", "scale": 2}``.

    Returns:
        The configuration of the task: ``gpgan.Config`` for generation.

    Raises:
        ValueError: A name is unknown (the message gives the nearest one), or a value has the wrong type or range.
    """
    task, given = gather(file, {**settings, "data": data})
    dataset = split(load_data(given) if dataset is None else dataset)
    values = {**PRESETS[given.get("preset", "auto")], **given}
    if "batch" not in given and values.get("batch", 0) > len(dataset) >= 2:
        values["batch"] = len(dataset)
    if data not in BUILT_IN and Path(data).exists():  # absolute, as a run may be resumed from another folder
        values["data"] = str(Path(data).resolve())
    return apply(task.defaults(data, dataset, values), values)


def gather(file: Path | None, settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The task that the settings select, and the file's settings overridden by ``settings``, by dotted name and typed.

    Raises:
        ValueError: The file cannot be read, a name is unknown, or a value has the wrong type.
    """
    written, said = {} if file is None else read_file(file), flatten(settings)
    task = task_of({**written, **said})
    given = {**typed(task.config_class, written, f"{file}: "), **typed(task.config_class, said)}
    return task, given


def task_of(flat: Mapping[str, Any]) -> Any:
    """The class of the task that flat settings select, directly or by their preset.

    Raises:
        ValueError: There is no such task or preset, or the preset belongs to another task.
    """
    preset = flat.get("preset", "auto")
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; expected {', '.join(PRESETS)}{nearest(str(preset), PRESETS)}")
    usual = PRESETS[preset].get("task.name", DEFAULT)
    name = flat.get("task.name", usual)
    task = task_class(name)
    if preset not in presets_of(name):
        raise ValueError(
            f"preset is {preset!r}, a preset of the task {usual}, and task is {name!r}; expected --task {usual}, or one of the "
            f"presets {', '.join(presets_of(name))}"
        )
    return task


def load_data(given: Mapping[str, Any], progress: Progress | None = None) -> Dataset:
    """Loads the data set that the gathered settings name.

    Raises:
        ValueError: As for ``gpgan.data.load``; or ``size`` is out of range.
    """
    size = RunConfig(size=given.get("size", 0)).size
    return load(given["data"], size=size or None, progress=progress)


def from_settings(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Reads what ``settings_of`` wrote: the task and its configuration, adapted to this machine's operators and CPUs.

    Raises:
        ValueError: A setting is unknown to this version, or has the wrong type or range.
    """
    flat = flatten(settings)
    task = task_class(flat.get("task.name", DEFAULT))  # runs from before there were tasks name none
    config = apply(task.config_class(), flat)
    impl = "auto" if config.impl == "native" and ops.why_not_native(config.device) else config.impl
    return task, replace(config, threads=min(config.threads, os.cpu_count() or 1), impl=impl)
