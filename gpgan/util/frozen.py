"""Leaves that get no gradient for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import Tensor


@contextlib.contextmanager
def frozen(leaves: Iterable[Tensor]) -> Iterator[None]:
    """Within the block, the leaves do not require grad: graphs built or run there leave no gradient in them."""
    held = [leaf for leaf in leaves if leaf.requires_grad]
    try:
        for leaf in held:
            leaf.requires_grad_(False)
        yield
    finally:
        for leaf in held:
            leaf.requires_grad_(True)
