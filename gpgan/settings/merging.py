"""Where a configuration's values come from: defaults for the data, then a preset, then a file, then what the user says."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from gpgan import ops
from gpgan.data import BUILT_IN, Dataset, load, split
from gpgan.data.paths import Progress
from gpgan.settings.config import NAMES, Config, options
from gpgan.settings.defaults import for_data
from gpgan.settings.presets import PRESETS
from gpgan.util.nearest import nearest

TREES = {name.partition(".")[0] for name, _, _ in options() if "." in name}


def configure(data: str, dataset: Dataset | None = None, *, file: Path | None = None, **settings: Any) -> Config:
    """The configuration of a run: defaults for the data, then the preset, then the file, then ``settings``.

    Args:
        data: As ``gpgan train`` takes it.
        dataset: The data set, where it is loaded already; its shape decides the defaults.
        file: A TOML file of settings, e.g. ``steps = 1000`` and, under ``[penalty]``, ``weight = 1.0``.
        settings: Any field of ``Config``, e.g. ``preset="wgan-gp", steps=1000, penalty={"weight": 1.0}``.

    Raises:
        ValueError: A name is unknown (the nearest one is named), or a value is not as wanted.
    """
    given = gather(file, {**settings, "data": data})
    dataset = split(load_data(given) if dataset is None else dataset)
    preset = given.get("preset", "auto")
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; expected {', '.join(PRESETS)}{nearest(preset, PRESETS)}")
    values = {**PRESETS[preset], **given}
    if "batch" not in given and values.get("batch", 0) > len(dataset) >= 2:
        values["batch"] = len(dataset)
    if data not in BUILT_IN and Path(data).exists():  # a run may be resumed from another folder
        values["data"] = str(Path(data).resolve())
    return apply(for_data(data, dataset), values)


def gather(file: Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file and, over these, ``settings``, flat, by dotted name, each of its type.

    Raises:
        ValueError: The file cannot be read, a name is unknown, or a value is of another type.
    """
    written = {} if file is None else _typed(read_file(file), f"{file}: ")
    return {**written, **_typed(_flat(settings))}


def load_data(given: Mapping[str, Any], progress: Progress | None = None) -> Dataset:
    """The data set that gathered settings name.

    Raises:
        ValueError: As ``gpgan.data.load``; or ``size`` is out of range.
    """
    size = Config(size=given.get("size", 0)).size
    return load(given["data"], size=size or None, progress=progress)


def read_file(path: Path) -> dict[str, Any]:
    """The settings of a TOML file, by dotted name.

    Raises:
        ValueError: It cannot be read, or is no TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(
            f"config is {str(path)!r}, which cannot be read ({error.strerror}); expected a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config is {str(path)!r}, which is no TOML ({error}); expected e.g. steps = 1000") from error
    return {name.replace("-", "_"): value for name, value in _flat(content).items()}


def apply(config: Config, settings: Mapping[str, Any]) -> Config:
    """The configuration with some settings, by dotted name, replaced.

    Raises:
        ValueError: A name is unknown, or a value has the wrong type or range.
    """
    trees: dict[str, dict[str, Any]] = {"": {}}
    for name, value in _typed(settings).items():
        tree, _, leaf = name.rpartition(".")
        trees.setdefault(tree, {})[leaf] = value
    branches = {tree: replace(getattr(config, tree), **values) for tree, values in trees.items() if tree}
    return replace(config, **trees[""], **branches)


def _typed(settings: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    types = {name: type for name, _, type in options()}
    for name in settings:
        if name not in types:
            raise ValueError(f"{source}there is no setting {name!r}{nearest(name, types)}")
    try:
        return {name: convert(name, types[name], value) for name, value in settings.items()}
    except ValueError as error:
        raise ValueError(f"{source}{error}") from None


def convert(name: str, wanted: Any, value: Any) -> Any:
    """A value as the type of a setting wants it: text, as a command line has it, or a value of that type.

    Raises:
        ValueError: It is neither.
    """
    text = isinstance(value, str)
    try:
        if get_origin(wanted) is Literal:
            if value in get_args(wanted):
                return value
        elif wanted is bool:
            if isinstance(value, bool):
                return value
        elif wanted is int:
            if (text or isinstance(value, int)) and not isinstance(value, bool):
                return int(value)
        elif wanted is float:
            if (text or isinstance(value, int | float)) and not isinstance(value, bool):
                return float(value)
        elif wanted is Path:
            if isinstance(value, str | Path):
                return Path(value)
        elif text or (value is None and wanted is not str):
            return value
    except (ValueError, OverflowError):
        pass
    choices = get_args(wanted) if get_origin(wanted) is Literal else ()
    names = " or ".join(choices) or NAMES[wanted]
    raise ValueError(f"{name.replace('_', '-')} is {value!r}; expected {names}{nearest(str(value), choices)}")


def settings_of(config: Config) -> dict[str, Any]:
    """The configuration as JSON takes it, nested."""
    values: dict[str, Any] = {**asdict(config), "out": str(config.out)}
    return values


def from_settings(settings: Mapping[str, Any]) -> Config:
    """The configuration that ``settings_of`` was given, as far as this machine has what it asks for.

    Raises:
        ValueError: A setting is unknown to this version, or not as wanted.
    """
    config = apply(Config(), _flat(settings))
    impl = "auto" if config.impl == "native" and ops.why_not_native(config.device) else config.impl
    return replace(config, threads=min(config.threads, os.cpu_count() or 1), impl=impl)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and (value or name in TREES):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
