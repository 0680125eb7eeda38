"""The record of a forward pass: what is recorded, what is unsupported, and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpgan import torch_private
from gpgan.schedule.maps import Activation, Linear, Map, Reshape, Rowwise, Sum
from gpgan.schedule.sweeps import Schedule
from gpgan.schedule.tape import Tape, Unsupported

LAYER = nn.Linear(6, 6).double()
# A forward from [4, 6, 6], and the maps that it is recorded as.
FORWARDS: dict[str, tuple[Callable[[Tensor], Tensor], list[type[Map]]]] = {
    "linear": (LAYER, [Linear]),
    "relu": (F.relu, [Activation]),
    "relu6": (lambda x: F.relu6(x), [Activation]),
    "relu6 of torch._C._nn": (torch._C._nn.relu6, [Activation]),
    "adaptive pooling of torch._C._nn": (lambda x: torch._C._nn.adaptive_avg_pool2d(x, 2), [Rowwise]),
    "chain": (lambda x: F.leaky_relu(LAYER(x), 0.2).flatten(1), [Linear, Activation, Reshape]),
    "residual": (lambda x: x + LAYER(x), [Linear, Sum]),
    "mean": (lambda x: x.mean((1, 2)), [Rowwise]),
    "shape is read": (lambda x: x.view(x.shape[0], -1), [Reshape]),
    "other tensors": (lambda x: LAYER(x) if torch.ones(2).amax() > 0 else x, [Linear]),
}
# A forward that is unsupported, and a word of the reason.
REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "smooth": (torch.tanh, "tanh"),
    "across samples": (lambda x: x.mean(0), "across samples"),
    "a product of values": (lambda x: x * x, "more than one value"),
    "another tensor": (lambda x: x + torch.ones_like(x), "ones_like"),
    "another weight": (lambda x: F.linear(x, LAYER.weight * 2), "does not come from the critic's input"),
    "no_grad": (lambda x: torch.no_grad()(LAYER)(x), "_set_grad_enabled"),
    "requires_grad is read": (lambda x: LAYER(x) if x.requires_grad else x, "requires_grad"),
    "changed in place": (lambda x: LAYER(x).relu_() + x.detach(), "detach"),
    "a value that is still needed": (lambda x: F.relu_(x) + LAYER(x), "still needed"),
    "dropout": (lambda x: F.dropout(x), "dropout"),
}


def record(forward: Callable[[Tensor], Tensor], batch: Tensor) -> tuple[Tape, Tensor]:
    with torch.no_grad(), Tape(batch) as tape:
        return tape, forward(batch)


def batch() -> Tensor:
    return torch.randn(4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FORWARDS)
def test_what_is_recorded(name: str) -> None:
    forward, maps = FORWARDS[name]
    x = batch()
    tape, result = record(forward, x)
    assert tape.failure is None
    assert [type(map) for map in tape.maps] == maps
    assert torch.equal(result, forward(batch()))


@pytest.mark.parametrize("name", FORWARDS)
def test_the_schedules_input_gradient_is_autograds(name: str) -> None:
    forward, _ = FORWARDS[name]
    tape, result = record(forward, batch())
    x = batch().requires_grad_()
    scores = forward(x)
    (expected,) = torch.autograd.grad(scores.sum(), x)
    gradient = Schedule(tape, result, len(result)).input_gradient(torch.ones_like(result))
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unsupported(name: str) -> None:
    forward, word = REFUSED[name]
    with pytest.raises(Unsupported, match=word):
        record(forward, batch())


def test_a_reason_is_kept_even_if_the_critic_catches_it() -> None:
    def forward(x: Tensor) -> Tensor:
        try:
            return torch.tanh(x)
        except Unsupported:
            return x

    tape, _ = record(forward, batch())
    assert tape.failure == "torch.tanh"


def test_without_versions_of_tensors_no_value_is_known_to_be_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_private, "version", lambda tensor: None)
    with pytest.raises(Unsupported, match="changed in place"):
        record(LAYER, batch())
