"""The check of a network's output."""

from __future__ import annotations

from typing import Any

import torch


def check_output(name: str, output: Any, expected: tuple[int, ...]) -> None:
    """Raises ValueError unless a network's output for two samples has the expected shape."""
    came = tuple(output.shape) if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
    if came != expected and not (name == "critic" and came == (*expected, 1)):
        raise ValueError(f"{name} returned {came} for two samples; expected a Tensor of shape {expected}")
