"""The user's own networks, by name, and the check of a network's output."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gpgan.util.imports import find_attribute


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


def check_output(name: str, output: Any, expected: tuple[int, ...]) -> None:
    """Raises ValueError unless a network's output for two samples has the expected shape."""
    came = tuple(output.shape) if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
    if came != expected and not (name == "critic" and came == (*expected, 1)):
        raise ValueError(f"{name} returned {came} for two samples; expected a Tensor of shape {expected}")
