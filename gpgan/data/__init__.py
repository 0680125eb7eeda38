"""Data sets by name, by path, or from Python code."""

from __future__ import annotations

from gpgan.data.dataset import Dataset, Mixture
from gpgan.data.loading import BUILT_IN, load
from gpgan.data.order import Order
from gpgan.data.split import split

__all__ = ["BUILT_IN", "Dataset", "Mixture", "Order", "load", "split"]
