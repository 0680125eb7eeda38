"""Counting floating-point operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpgan.torch_private import operation_counting


def counter() -> Any | None:
    """A context that counts the operations of the matrix products and convolutions in it, by torch's formulas, in its
    attribute ``count``. None if torch does not offer them.

    ``torch.utils.flop_counter.FlopCounterMode`` also tracks modules, which breaks the double backward of a module that
    is called with a leaf.
    """
    offered = operation_counting()
    if offered is None:
        return None
    mode, formula_of = offered

    class Operations(mode):  # type: ignore[misc, valid-type]
        count = 0

        def __torch_dispatch__(
            self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            kwargs = kwargs or {}
            out = func(*args, **kwargs)
            formula = formula_of(func)
            if formula is not None:
                self.count += formula(*args, **kwargs, out_val=out)
            return out

    return Operations()
