"""Finds the modules and functions that a critic uses."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn


def reachable(critic: Any) -> Iterator[Any]:
    """The modules and functions that a callable may run: itself, and those it is bound to, holds, closes over or names.

    Does not list modules inside modules. May list some that never run, and misses those that only other code refers to.
    """
    seen: set[int] = set()
    waiting = [critic]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            yield thing
        elif isinstance(thing, functools.partial):
            waiting += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, MethodType):
            waiting += [thing.__self__, thing.__func__]
        elif isinstance(thing, FunctionType):
            yield thing
            waiting += _held(thing)
        elif isinstance(thing, (list, tuple)):
            waiting += thing
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif not isinstance(thing, type) and not type(thing).__module__.startswith(("torch", "numpy", "builtins")):
            waiting += [getattr(thing, "__dict__", {})]


def _held(function: FunctionType) -> list[Any]:
    """The objects that a function closes over, names, or has as defaults or attributes (e.g. ``__wrapped__``)."""
    held = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *function.__dict__.values()]
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # an empty cell
            continue
    if not (function.__module__ or "").startswith("torch"):
        held += [function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__]
    return held


def _names(code: CodeType) -> set[str]:
    """The names in a function's code, including those in functions inside it."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)
