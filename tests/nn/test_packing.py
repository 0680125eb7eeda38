"""Packs of samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gpgan.nn.packing import pack


def test_packed_vectors_and_images_by_hand() -> None:
    x = torch.arange(12.0).view(6, 2)
    assert pack(x, 3).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert torch.equal(pack(x, 1), x)
    images = torch.randn(4, 3, 5, 7)
    packed = pack(images, 2)
    assert packed.shape == (2, 6, 5, 7)
    assert torch.equal(packed[1], torch.cat([images[2], images[3]]))
    assert torch.equal(pack(images.contiguous(memory_format=torch.channels_last), 2), packed)
    assert pack(torch.zeros(4, 1, 3, 3, 3), 4).shape == (1, 4, 3, 3, 3)


def test_gradients_pass_through_packing() -> None:
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: pack(x, 2), x)


@pytest.mark.parametrize(("samples", "m", "error", "words"), [
    (torch.zeros(6, 2), 4, ValueError, ["m is 4", "batch of 6", "multiple of 4"]),
    (torch.zeros(6, 2), 0, ValueError, ["m is 0", "1 or more"]),
    (torch.zeros(6, 2), 2.0, ValueError, ["m is 2.0", "whole number"]),
    (torch.zeros(6, 2), True, ValueError, ["m is True", "whole number"]),
    (torch.zeros(6), 2, ValueError, ["samples", "(6,)", "[B, D]"]),
    ([[1.0]], 1, TypeError, ["samples", "list", "torch.Tensor"]),
])  # fmt: skip
def test_what_cannot_be_packed(samples: Tensor, m: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as raised:
        pack(samples, m)
    assert [word for word in words if word not in str(raised.value)] == []
