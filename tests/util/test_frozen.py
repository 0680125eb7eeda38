"""Leaves that get no gradient for a while."""

import contextlib

import torch
from torch import nn

from gpgan.util.frozen import frozen


def test_frozen_parameters_get_no_gradient_and_thaw_again():
    layer, rest = nn.Linear(3, 1), nn.Linear(3, 1).requires_grad_(False)
    x = torch.randn(4, 3, requires_grad=True)
    with frozen([*layer.parameters(), *rest.parameters()]):
        (layer(x) + rest(x)).sum().backward()
        assert not any(p.requires_grad for p in layer.parameters())
    assert x.grad is not None
    assert [p.grad for p in layer.parameters()] == [None, None]
    assert all(p.requires_grad for p in layer.parameters())
    assert not any(p.requires_grad for p in rest.parameters())


def test_frozen_parameters_thaw_after_an_error():
    layer = nn.Linear(3, 1)
    with contextlib.suppress(ZeroDivisionError), frozen(layer.parameters()):
        raise ZeroDivisionError
    assert all(p.requires_grad for p in layer.parameters())
