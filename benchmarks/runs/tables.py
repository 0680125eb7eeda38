"""The tables by name."""

from __future__ import annotations

from benchmarks.runs import architectures, choices, conditional, lazy, penalty, presets, stacked
from benchmarks.runs.plan import Table

TABLES: dict[str, Table] = {
    module.TABLE.name: module.TABLE for module in (penalty, presets, choices, stacked, lazy, conditional, architectures)
}
