"""The user's own Python code, found by name."""

from __future__ import annotations

import functools
import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from torch import nn


def origin(where: str) -> str:
    """The file that module:attribute would be imported from, by its outermost module, "" if none; imports nothing."""
    outermost = where.partition(":")[0].partition(".")[0]
    folder = str(Path.cwd())
    module = sys.modules.get(outermost)
    if module is None:
        spec = PathFinder.find_spec(outermost, sys.path if folder in sys.path else [folder, *sys.path])
    else:
        spec = getattr(module, "__spec__", None)
    if spec is None:  # not found, or the script that runs
        return getattr(module, "__file__", None) or ""
    if spec.has_location and spec.origin:
        return spec.origin
    return next(iter(spec.submodule_search_locations or ()), "")  # a folder without __init__.py


def find_attribute(name: str, where: str, wanted: str) -> Any:
    """The object at ``module:attribute``; both may have dots.

    The current folder is searched first, as with ``python -m``.

    Args:
        name: The setting's name, for messages.
        where: module:attribute.
        wanted: What the object should be, for messages.

    Raises:
        ValueError: There is no such module or attribute.
    """
    module, _, attribute = where.partition(":")
    if not module or not attribute:
        raise ValueError(f"{name} is {where!r}; expected module:attribute, {wanted}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A missing module that it imports itself is another matter.
        if not error.name or not (module + ".").startswith(error.name + "."):
            raise
        raise ValueError(
            f"{name} is {where!r}, and module {error.name} is neither in {folder} nor installed"
        ) from error
    try:
        return functools.reduce(getattr, attribute.split("."), found)
    except AttributeError as error:
        raise ValueError(f"{name} is {where!r}, and {error}") from error


def own_module(name: str, where: str, arguments: dict[str, Any]) -> nn.Module:
    """The module that the callable at ``where`` returns.

    Args:
        name: The setting's name, for messages.
        where: module:attribute.
        arguments: Its keyword arguments.

    Raises:
        ValueError: There is no such callable, or it does not return an nn.Module.
    """
    make = find_attribute(name, where, "a class or function that returns an nn.Module")
    try:
        module = make(**arguments)
    except TypeError as error:
        names = ", ".join(f"{key}=" for key in arguments)
        raise ValueError(
            f"{name} is {where!r}, which cannot be called with {names} ({error}); expected a callable that takes them"
        ) from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} is {where!r}, which returned a {type(module).__name__}; expected an nn.Module")
    return module
