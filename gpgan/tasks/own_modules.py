"""Networks of the user's own, by name, and what networks must give."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gpgan.util.imports import find_attribute


def own_module(name: str, where: str, arguments: dict[str, Any]) -> nn.Module:
    """The module that the callable at ``where`` returns.

    Args:
        name: Of the setting, for messages.
        where: module:attribute.
        arguments: What it is called with.

    Raises:
        ValueError: There is no such callable, or it does not return an nn.Module.
    """
    make = find_attribute(name, where, "a class or function that gives an nn.Module")
    try:
        module = make(**arguments)
    except TypeError as error:
        wanted = ", ".join(f"{key}=" for key in arguments)
        raise ValueError(f"{name} is {where!r}, which cannot be called with {wanted} ({error})") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} is {where!r}, which returned a {type(module).__name__}; expected an nn.Module")
    return module


def check_output(name: str, output: Any, expected: tuple[int, ...]) -> None:
    """Raises ValueError unless a network's output for two samples has the expected shape."""
    came = tuple(output.shape) if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
    if came != expected and not (name == "critic" and came == (*expected, 1)):
        raise ValueError(f"{name} gave {came} for two samples; expected a Tensor {expected}")
