"""Weight clipping."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gpgan.critic.optimizer import clip_weights


def test_clipped_weights_by_hand() -> None:
    half = nn.Parameter(torch.tensor([[-3.0, 0.25], [0.5, 9.0]], dtype=torch.float16))
    single = nn.Parameter(torch.tensor([float("nan"), float("inf"), -0.75]))
    clip_weights([half, single], 0.5)
    assert half.tolist() == [[-0.5, 0.25], [0.5, 0.5]]
    assert single[0].isnan()
    assert single[1:].tolist() == [0.5, -0.5]
    assert half.requires_grad
    assert half.grad_fn is None


def test_no_parameters_are_no_error() -> None:
    clip_weights(iter(()), 0.5)


@pytest.mark.parametrize(("limit", "error", "words"), [
    (0.0, ValueError, ["limit", "0.0", "above 0"]),
    (-1, ValueError, ["limit", "-1", "above 0"]),
    (float("inf"), ValueError, ["limit", "inf", "finite"]),
    (float("nan"), ValueError, ["limit", "nan", "finite"]),
    ("0.01", TypeError, ["limit", "str", "number"]),
    (True, TypeError, ["limit", "bool", "number"]),
])  # fmt: skip
def test_limits_that_are_none(limit: Any, error: type[Exception], words: list[str]) -> None:
    weight = torch.ones(2)
    with pytest.raises(error) as raised:
        clip_weights([weight], limit)
    assert [word for word in words if word not in str(raised.value)] == []
    assert weight.tolist() == [1, 1]
