"""Merges settings from files, flags and Python, by dotted name, into the tree of a task."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from gpgan.settings.config import NAMES, RunConfig, options
from gpgan.util.errors import first_line
from gpgan.util.nearest import nearest

C = TypeVar("C", bound=RunConfig)


def read_file(path: Path) -> dict[str, Any]:
    """The settings of a TOML file, by dotted name.

    Raises:
        ValueError: The file cannot be read, or is not valid TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        flat = flatten(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ValueError(
            f"config is {str(path)!r}, which cannot be read ({first_line(error)}); expected a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"config is {str(path)!r}, which is not valid TOML ({error}); expected e.g. steps = 1000"
        ) from error
    except RecursionError as error:
        raise ValueError(f"config is {str(path)!r}, which is nested too deeply; expected e.g. steps = 1000") from error
    settings: dict[str, Any] = {}
    written: dict[str, str] = {}
    for name, value in flat.items():
        known = name.replace("-", "_")
        if known in settings:
            raise ValueError(
                f"config is {str(path)!r}, which sets {written[known]} and {name}, two spellings of one setting; expected "
                "one of them"
            )
        settings[known], written[known] = value, name
    return settings


def apply(config: C, settings: Mapping[str, Any]) -> C:
    """The configuration with some settings replaced, by dotted name.

    Raises:
        ValueError: A name is unknown, or a value has the wrong type or range.
    """
    trees: dict[str, dict[str, Any]] = {"": {}}
    for name, value in typed(type(config), settings).items():
        tree, _, leaf = name.rpartition(".")
        trees.setdefault(tree, {})[leaf] = value
    branches = {tree: replace(getattr(config, tree), **values) for tree, values in trees.items() if tree}
    return replace(config, **trees[""], **branches)


def typed(tree: type[RunConfig], settings: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    """Settings by dotted name, each converted to its type.

    Args:
        tree: The settings of a task.
        settings: Strings, as from a command line, or values.
        source: Begins the error messages.

    Raises:
        ValueError: The tree has no such setting (the message gives the nearest name), or a value has the wrong type.
    """
    types = {name: type for name, _, type in options(tree)}
    trees = {name.rpartition(".")[0] for name in types}
    settings = {name: value for name, value in settings.items() if not (name in trees and value == {})}
    for name in settings:
        if name not in types:
            raise ValueError(f"{source}unknown setting {name!r}{nearest(name, types)}")
    try:
        return {name: convert(name, types[name], value) for name, value in settings.items()}
    except ValueError as error:
        raise ValueError(f"{source}{error}") from None


def convert(name: str, wanted: Any, value: Any) -> Any:
    """Converts a string, as from a command line, to the type of a setting; a value of that type is returned as it is.

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


def settings_of(config: RunConfig) -> dict[str, Any]:
    """The configuration as nested values that JSON can hold."""
    values: dict[str, Any] = {**asdict(config), "out": str(config.out)}
    return values


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; ``task`` with a string means ``task.name``.

    Raises:
        ValueError: A setting is given twice, by its dotted name and nested.
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found = flatten(value, f"{prefix}{name}.")
        else:
            found = {"task.name" if prefix + name == "task" else prefix + name: value}
        for twice in found.keys() & flat.keys():
            raise ValueError(f"{twice} is given twice, {flat[twice]!r} and {found[twice]!r}; expected it once")
        flat |= found
    return flat
