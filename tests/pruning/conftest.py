"""One thread: the tensors are so small that synchronising threads would take longer than the work."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread(_fresh: None) -> None:
    torch.set_num_threads(1)
