"""The global random states (torch, NumPy, Python), which the user's own networks and data may draw from."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def seed(number: int) -> None:
    """Seeds all of them."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


def capture() -> dict[str, Any]:
    """All states, as tensors and plain values that load with ``weights_only``."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (
            name,
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ),
    }


def restore(states: dict[str, Any]) -> None:
    """Restores the states from ``capture``; those of GPUs only if the number of GPUs is the same."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available() and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two results of ``capture`` are equal, so that no random number was drawn in between."""
    tensors = zip(
        [one["torch"], *one["cuda"], one["numpy"][1]], [other["torch"], *other["cuda"], other["numpy"][1]], strict=True
    )
    plain = [(each["python"], each["numpy"][2:]) for each in (one, other)]
    return plain[0] == plain[1] and all(torch.equal(a, b) for a, b in tensors)


@contextlib.contextmanager
def borrowed() -> Iterator[None]:
    """Restores the states after the block."""
    before = capture()
    try:
        yield
    finally:
        restore(before)
