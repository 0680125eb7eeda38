"""One thread: the tensors are a few numbers each, and threads that wait for each other take longer than the work."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread(_fresh: None) -> None:
    torch.set_num_threads(1)
